"""Misses under load: many agents at once, each asking new questions whose answers are 40 chunks within a second.

Shows what the agents see, and the CPU that a server spends on each answer, which holds on a busy machine too. That of
this cache includes storing what is not stored yet when the last answer has passed; the studies that were put off are
made up for before the next server is asked.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

from benchmarks import agents, servers
from benchmarks.agents import Agents, Answered, percentile
from benchmarks.figures import Run
from benchmarks.servers import Server, Skipped

_CHUNKS, _GAP = 40, 0.025
_ONE, _FEW, _MANY = 20, 100, 300
_SECONDS = 60.0
"""How long storing and studying may take once the agents have their answers."""
_BARE, _OURS, _WORKERS, _LITELLM = "bare mitmdump", "start", "start --workers 2", "LiteLLM"


class _Cpu(NamedTuple):
    """Milliseconds of CPU for each answer: until all are stored, and until the studies that were put off are done."""

    until_stored: float
    until_studied: float


def measure(bench: Run) -> None:
    """Add the rows."""
    seconds, rounds = (3.0, 1) if bench.quick else (8.0, 3)
    numbers, questions = (_MANY,) if bench.quick else (_ONE, _FEW, _MANY), itertools.count(0, 1_000_000)
    answered, cpu = defaultdict[tuple[str, int], list[Answered]](list), defaultdict[tuple[str, int], list[_Cpu]](list)
    with contextlib.ExitStack() as stack:
        systems = _started(bench, stack)
        for server in systems.values():
            agents.run(Agents(server.port, server.path, 20, 1.0, next(questions)))  # warms up its code
        for _, number, (name, server) in itertools.product(range(rounds), numbers, systems.items()):
            if (name == _LITELLM and number == _MANY) or (name == _WORKERS and number != _MANY):
                continue  # LiteLLM needs half a minute for 300 agents, and two workers are of use to them alone
            asked = Agents(server.port, server.path, number, seconds, next(questions))
            seen, spent = _ask(server, asked, stores=name in (_OURS, _WORKERS))
            bench.add_rate(name, _load(number), seen.rate)
            answered[name, number].append(seen)
            cpu[name, number].append(spent)
    for number in numbers:
        _add(bench, number, {name: answered[name, number] for name in systems if answered[name, number]})
        _add_cpu(bench, number, cpu[_OURS, number], cpu[_BARE, number])
    _add_workers(bench, cpu[_OURS, _MANY], cpu[_WORKERS, _MANY])
    if _LITELLM in systems and _FEW in numbers:
        row = f"answers a second to {_FEW} agents' new questions, over {_LITELLM}"
        bench.add_ratio(row, _OURS, _LITELLM, _load(_FEW), ">= 3")


def _started(bench: Run, stack: contextlib.ExitStack) -> dict[str, Server]:
    upstream = stack.enter_context(servers.upstream(_CHUNKS, _GAP))
    systems = {
        "direct": upstream,
        _BARE: stack.enter_context(servers.bare(upstream, "stream")),
        _OURS: stack.enter_context(servers.ours(bench.folder / "misses", upstream)),
        _WORKERS: stack.enter_context(servers.ours(bench.folder / "misses-2", upstream, "--workers", "2")),
    }
    try:
        peer = servers.litellm(bench.folder / "litellm", upstream, not bench.quick)
        systems[_LITELLM] = stack.enter_context(peer)
    except (Skipped, RuntimeError) as why:
        bench.add(_LITELLM, None, detail=str(why))
    return systems


def _load(number: int) -> str:
    return f"{number} agents"


def _ask(server: Server, asked: Agents, *, stores: bool) -> tuple[Answered, _Cpu]:
    stored = _statistics(server)["stored"] if stores else 0
    before = server.cpu_seconds()
    seen = agents.run(asked)
    if stores:
        _wait_until(server, lambda counted: counted["stored"] >= stored + seen.answers)
    until_stored = server.cpu_seconds() - before
    if stores:
        _wait_until(server, _is_made_up)
    until_studied = server.cpu_seconds() - before
    return seen, _Cpu(1000 * until_stored / seen.answers, 1000 * until_studied / seen.answers)


def _wait_until(server: Server, holds: Callable[[dict[str, Any]], bool]) -> None:
    until = time.monotonic() + _SECONDS
    while not holds(_statistics(server)):
        if time.monotonic() > until:
            raise RuntimeError(f"the cache is not done after {_SECONDS:.0f} s: {_statistics(server)}")
        time.sleep(0.1)


def _statistics(server: Server) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/stats") as answer:
        return json.loads(answer.read())  # type: ignore[no-any-return]


def _is_made_up(counted: dict[str, Any]) -> bool:
    return bool(counted["studies_put_off"] == counted["studies_made_up"] + counted["studies_dropped"])


def _add(bench: Run, number: int, answered: dict[str, list[Answered]]) -> None:
    row, goal = f"answers a second to {number} agents' new questions, over bare", ">= 1.2" if number == _MANY else ""
    bench.add_ratio(row, _OURS, _BARE, _load(number), goal)
    late = 1000 * (_of(answered[_OURS], 0.99) - _of(answered["direct"], 0.99))
    goal = "<= 100" if number == _FEW else ""
    detail = "; ".join(f"{name} {_shown(rounds)}" for name, rounds in answered.items())
    bench.add(f"p99 of whole answers to {number} agents, over direct", late, "ms more", goal, detail)


def _of(rounds: list[Answered], share: float) -> float:
    return median(percentile(one.wholes, share) for one in rounds)


def _shown(rounds: list[Answered]) -> str:
    """The rate, then p50/p99 of the first byte and of the whole answer in milliseconds."""
    times = (
        "/".join(f"{1000 * median(percentile(seen, share) for seen in of_rounds):.0f}" for share in (0.5, 0.99))
        for of_rounds in ([one.first_bytes for one in rounds], [one.wholes for one in rounds])
    )
    return f"{median(one.rate for one in rounds):.0f}/s, {', '.join(times)} ms"


def _add_cpu(bench: Run, number: int, ours: list[_Cpu], bare: list[_Cpu]) -> None:
    ratio = median(mine.until_stored / other.until_stored for mine, other in zip(ours, bare, strict=True))
    ours_ms, bare_ms = (median(each.until_stored for each in rounds) for rounds in (ours, bare))
    detail = f"{ours_ms:.1f} ms, bare {bare_ms:.1f}"
    bench.add(f"CPU of a streamed miss of 4 KB for {number} agents, over bare", ratio, goal="<= 1.2", detail=detail)


def _add_workers(bench: Run, one: list[_Cpu], two: list[_Cpu]) -> None:
    """What two workers answer on cores of their own, by the CPU of each answer: here the agents and the upstream need
    the second core."""
    ratio = median(2 * alone.until_studied / shared.until_studied for alone, shared in zip(one, two, strict=True))
    one_ms, two_ms = (median(each.until_studied for each in rounds) for rounds in (one, two))
    detail = f"{two_ms:.1f} ms of CPU for each answer and its study, one worker {one_ms:.1f}"
    bench.add(f"--workers 2 over 1, answers to {_MANY} agents, by CPU", ratio, goal=">= 1.7", detail=detail)
