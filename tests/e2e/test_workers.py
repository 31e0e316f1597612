"""Workers on one port are one cache: one store, one count, one call for identical requests; the dead are replaced."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import commands
from process_log import ProcessLog
from support import Answer, Proxy, Upstream, chat_request

if not hasattr(socket, "SO_REUSEPORT"):
    pytest.skip("this system cannot share a port between processes", allow_module_level=True)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, upstream: Upstream) -> Iterator[Proxy]:
    """Two workers in front of `upstream`."""
    commands.isolate(monkeypatch, tmp_path)
    with commands.started("--workers", "2", "--upstream", upstream.url) as running:
        assert running.process.stdout
        log = ProcessLog()
        reader = log.follow(running.process.stdout)
        proxy = Proxy(running.process, int(running.url.rpartition(":")[2]), log, reader)
        while len(children(proxy)) < 2:
            assert running.process.poll() is None
        proxy.log.wait_for("listening at")
        yield proxy
        running.process.terminate()
        running.process.wait(30)
        reader.join(30)


def children(proxy: Proxy) -> list[int]:
    """The process ids of the workers."""
    listed = Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children")
    if not listed.exists():
        pytest.skip("this system does not list a process's children in /proc")
    return [int(number) for number in listed.read_text().split()]


def is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()


def test_all_workers_serve_one_store_and_make_one_call_for_identical_requests(
    workers: Proxy, upstream: Upstream
) -> None:
    gate = upstream.new_event()
    answer_at_once = upstream.handler

    async def wait(asked: object, send: object) -> None:
        await gate.wait()
        await answer_at_once(asked, send)  # type: ignore[arg-type]

    upstream.handler = wait

    def ask(_: int) -> Answer:
        return workers.chat("the same")

    with ThreadPoolExecutor(16) as threads:
        answers = threads.map(ask, range(16))
        upstream.wait_for(1)
        gate.open()
        found = list(answers)
    assert {answer.status for answer in found} == {200}
    assert len({answer.body for answer in found}) == 1
    assert len(upstream.asked) == 1, workers.log
    with ThreadPoolExecutor(8) as threads:
        assert {answer.cache for answer in threads.map(ask, range(40))} == {"HIT"}
    assert len(upstream.asked) == 1, workers.log


def test_a_client_that_leaves_before_its_call_begins_holds_up_no_other(workers: Proxy, upstream: Upstream) -> None:
    with ThreadPoolExecutor(6) as threads:
        for number in range(8):
            body = json.dumps(chat_request(str(number))).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
            with socket.create_connection(("127.0.0.1", workers.port)) as leaver:
                leaver.sendall(head.encode() + body)
            answers = [threads.submit(workers.chat, str(number)) for _ in range(6)]
            assert {answer.result(timeout=20).status for answer in answers} == {200}


def test_a_worker_that_is_killed_is_replaced_and_the_others_go_on(workers: Proxy, upstream: Upstream) -> None:
    workers.chat("known")
    first, second = children(workers)
    os.kill(first, signal.SIGKILL)
    workers.log.wait_for(f"worker {first} ended with status -9")
    for _ in range(20):
        assert ask_again(workers).cache == "HIT"
    while len(children(workers)) < 2:
        assert workers.process.poll() is None
    assert second in children(workers)


def ask_again(workers: Proxy) -> Answer:
    """A connection that the kernel gave to the one that was killed is reset."""
    while True:
        try:
            return workers.chat("known")
        except ConnectionError:
            continue


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_workers_cleanly(workers: Proxy, number: signal.Signals) -> None:
    started = children(workers)
    workers.process.send_signal(number)
    assert workers.process.wait(30) == 0
    assert not any(map(is_running, started))


def test_workers_end_with_the_process_that_watches_them(workers: Proxy) -> None:
    started = children(workers)
    workers.process.kill()
    workers.process.wait(30)
    while any(map(is_running, started)):
        pass


def test_the_counts_of_all_workers_are_one(workers: Proxy) -> None:
    for _ in range(30):
        workers.chat("counted")
    while workers.stats()["hits"] < 29:  # each worker writes its own once a second
        assert workers.process.poll() is None
    assert (workers.stats()["hits"], workers.stats()["misses"]) == (29, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workers", "0"), "Error: WORKERS: '0' is not allowed; give auto, or a whole number from 1 to 64"),
        (("--workers", "2", "--web"), "Error: WORKERS: --web shows the flows of one process"),
        (("--workers", "2", "--", "-w", "flows"), "Error: WORKERS: several processes cannot write one file (-w)"),
        (("--workers", "2", "--", "--no-such-option"), "no-such-option"),
    ],
)
def test_what_workers_cannot_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    commands.isolate(monkeypatch, tmp_path)
    done = commands.run_module("start", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
