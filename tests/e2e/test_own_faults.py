"""A fault of the cache itself, in its code or on its disk, never fails a request that the upstream can answer."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from forked import lean_mitmdump
from support import (
    ENTRY,
    STREAM_HEAD,
    Asked,
    Send,
    Upstream,
    answer_chat,
    chat_events,
    chunk,
    response,
    running_proxy,
)

TOKEN = "-".join(("client", "token"))
UPSTREAM_KEY = "-".join(("upstream", "key"))

BREAK = """
import importlib

module, _, path = {name!r}.partition(":")
*owners, last = path.split(".")
owner = importlib.import_module("computer_use_cache." + module)
for name in owners:
    owner = getattr(owner, name)


def broken(*arguments, **named):
    raise RuntimeError("broken on purpose")


setattr(owner, last, broken)
"""

PARTS = [
    "cache.cache:Cache.plan",
    "cache.cache:Cache.route",
    "cache.cache:Cache.plan_body",
    "keys.key:finish",
    "cache.cache:Cache.lookup_quickly",
    "cache.cache:Cache.conceal",
    "cache.cache:Cache.judge_and_read",
    "cache.cache:Cache.keep_all",
    "flights.flight:Flights.find",
    "flights.flight:Flights.begin",
    "flights.flight:Flights.land",
    "flights.flight:Flight.begin_stream",
    "flights.flight:Flight.feed",
    "flights.flight:Flight.end_stream",
    "flights.stream_recorder:Recorder.feed",
    "cache.judging:shape_of",
    "cache.judging:judge_answer",
    "store.codec:encode",
    "store.disk:DiskStore.get",
    "store.disk:DiskStore.put_all",
    "accounting.ledger:Ledger.served",
    "accounting.ledger:Ledger.stored",
    "accounting.ledger:Ledger.flush",
    "cache.replay:_is_as_wanted",
    "proxy.running:Running.response",
    "proxy.exchanges:Exchange",
    "exchange.exchange:Exchange.resolve",
    "exchange.decide:Decider.decide_at_once",
    "exchange.shared:Shared.conclude",
    "exchange.result:of_ending",
    "proxy.cache_headers:tell",
    "proxy.responses:delimit",
]


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_raises_does_not_fail_the_request(tmp_path: Path, upstream: Upstream, name: str) -> None:
    script = tmp_path / "break.py"
    script.write_text(BREAK.format(name=name))
    environment = {"CACHE_CLIENT_TOKEN": TOKEN, "UPSTREAM_API_KEY": UPSTREAM_KEY, "CACHE_FAST_LANE": "auto"}
    with running_proxy(tmp_path, upstream.url, "-s", str(script), **environment) as proxy:
        headers = {"authorization": f"Bearer {TOKEN}", "x-cache-namespace": "run", "x-cache-ttl": "60"}
        for _ in range(2):
            assert proxy.chat(headers=headers).json()["choices"][0]["message"]["content"] == "pong"
            assert proxy.chat("streamed", headers, stream=True).body == b"".join(chat_events("po", "ng"))
        proxy.log.wait_for("broken on purpose")
    for asked in upstream.asked:
        assert asked.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
        assert TOKEN not in str(asked)
        assert not [header for header in asked.headers if header.startswith("x-cache")]


@pytest.mark.parametrize(
    "name",
    [
        "cache.cache:Cache.plan",
        "cache.policy:read_controls",
        "cache.cache:Cache.conceal",
        "proxy.exchanges:Exchange",
        "exchange.exchange:Exchange.resolve",
        "exchange.exchange:Exchange.result",
        "diagnosis.near_miss:study",
        "proxy.helper_routes:HelperRoutes.answer",
    ],
)
def test_a_part_that_raises_sends_nothing_upstream_that_may_not_go_there(
    tmp_path: Path, upstream: Upstream, name: str
) -> None:
    script = tmp_path / "break.py"
    script.write_text(BREAK.format(name=name))
    with running_proxy(tmp_path, upstream.url, "-s", str(script), CACHE_MODE="offline") as proxy:
        answer = proxy.chat()
        assert (answer.status, answer.headers["x-should-retry"]) == (404, "false")
        assert "CACHE_MODE=offline lets nothing go upstream" in answer.json()["error"]["message"]
        proxy.log.wait_for("broken on purpose")
    assert upstream.asked == []


def test_a_part_that_raises_does_not_lift_what_a_request_forbids(tmp_path: Path, upstream: Upstream) -> None:
    script = tmp_path / "break.py"
    script.write_text(BREAK.format(name="cache.cache:Cache.plan"))
    with running_proxy(tmp_path, upstream.url, "-s", str(script)) as proxy:
        assert proxy.chat(headers={"x-cache-mode": "offline"}).status == 404
        assert proxy.chat(headers={"cache-control": "only-if-cached"}).status == 504
        assert proxy.chat(headers={"x-cache-mode": "nonsense"}).status == 400
        assert upstream.asked == []
        assert proxy.chat().status == 200


def test_a_route_of_the_cache_that_fails_is_never_asked_of_the_upstream(tmp_path: Path, upstream: Upstream) -> None:
    script = tmp_path / "break.py"
    script.write_text(BREAK.format(name="proxy.local_routes:LocalRoutes._answer"))
    with running_proxy(tmp_path, upstream.url, "-s", str(script)) as proxy:
        for method, path in (
            ("GET", "/cache/stats"),
            ("POST", "/cache/clear"),
            ("DELETE", "/cache/entries/" + "a" * 64),
        ):
            assert proxy.ask(method, path, headers={"x-cache-admin-token": TOKEN}).status == 500
    assert upstream.asked == []


def test_followers_of_a_leader_whose_answer_is_not_kept_ask_for_themselves(tmp_path: Path, upstream: Upstream) -> None:
    script = tmp_path / "break.py"
    script.write_text(BREAK.format(name="proxy.running:Running.response"))
    gate = upstream.new_event()

    async def held(asked: Asked, send: Send) -> None:
        await gate.wait()
        await answer_chat(asked, send)

    upstream.handler = held
    with running_proxy(tmp_path, upstream.url, "-s", str(script)) as proxy, ThreadPoolExecutor(4) as pool:
        leader = pool.submit(proxy.chat)
        upstream.wait_for(1)
        followers = [pool.submit(proxy.chat) for _ in range(3)]
        proxy.log.wait_for("client connect", 4)
        gate.open()
        assert {answer.result().status for answer in (leader, *followers)} == {200}


def test_a_part_of_a_batch_never_passes_for_the_whole(tmp_path: Path, upstream: Upstream) -> None:
    script = tmp_path / "break.py"
    script.write_text(BREAK.format(name="cache.batches:_join"))

    async def embed(asked: Asked, send: Send) -> None:
        given = asked.json()["input"]
        data = [
            {"object": "embedding", "index": index, "embedding": [1.0]}
            for index, _ in enumerate(given if isinstance(given, list) else [given])
        ]
        await send(response(json.dumps({"object": "list", "data": data, "model": "e", "usage": {}}).encode()))

    upstream.handler = embed
    with running_proxy(tmp_path, upstream.url, "-s", str(script)) as proxy:
        assert proxy.post("/v1/embeddings", {"model": "e", "input": ["a", "b"]}).status == 200
        assert proxy.post("/v1/embeddings", {"model": "e", "input": ["a", "c"]}).status == 502
        assert proxy.post("/v1/embeddings", {"model": "e", "input": ["d", "e"]}).status == 200


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits the files of a running process")
def test_a_disk_that_cannot_be_written_is_a_skip_and_one_warning_until_it_can(
    tmp_path: Path, upstream: Upstream
) -> None:
    with running_proxy(tmp_path, upstream.url) as proxy:
        assert proxy.chat("before").headers["x-computer-use-cache-store"] == "stored"
        _, hard = resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (0, hard))
        for text in ("one", "two", "three", "x" * 200_000):
            answer = proxy.chat(text)
            assert answer.status == 200
            assert answer.headers["x-computer-use-cache-store"] == "skipped: the store cannot be written"
        assert proxy.chat("before").cache == "HIT"
        assert proxy.ask("GET", "/readyz").status == 503
        assert proxy.ask("GET", "/healthz").status == 200
        resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert proxy.chat("one").headers["x-computer-use-cache-store"] == "stored"
        assert proxy.chat("one").cache == "HIT"
        assert proxy.chat("before").cache == "HIT", "what was there before is not lost"
        assert proxy.ask("GET", "/readyz").status == 200
        proxy.log.wait_for("storing works again")
        assert sum("storing fails" in line for line in proxy.log) == 1


def test_a_database_that_becomes_corrupt_costs_entries_and_no_request(tmp_path: Path, upstream: Upstream) -> None:
    with running_proxy(tmp_path, upstream.url) as proxy:
        for number in range(30):
            proxy.chat(str(number))
        for database in (tmp_path / "store").rglob("cache.db*"):
            database.write_bytes(b"\xff" * database.stat().st_size)
        for number in (*range(30), *range(30)):
            assert proxy.chat(str(number)).status == 200
        assert [proxy.chat(str(number)).cache for number in range(30)] == ["HIT"] * 30
        assert proxy.ask("GET", "/healthz").status == 200
        assert any("is corrupt" in line for line in proxy.log)


def test_a_folder_that_cannot_be_used_stops_the_start_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    command = [str(Path(sys.executable).parent / "mitmdump"), "-s", str(ENTRY), "--set", f"cache_dir={tmp_path}/file"]
    command += ["--mode", "reverse:http://127.0.0.1:9@127.0.0.1:0", "--set", f"confdir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"{tmp_path}/file" in done.stdout + done.stderr
    assert "check the folder and CACHE_DIR" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


FAILING_ADDON = """
def responseheaders(flow):
    def fail_once(data, pieces=iter([1, 0])):
        return data if next(pieces, 1) else data.missing

    flow.response.stream = fail_once
"""


def test_a_failure_in_another_addons_stream_function_costs_one_piece_and_not_the_answer(
    tmp_path: Path, upstream: Upstream
) -> None:
    script = tmp_path / "failing.py"
    script.write_text(FAILING_ADDON)
    events = chat_events("po", "ng")
    gates = [upstream.new_event() for _ in events]

    async def handler(asked: Asked, send: Send) -> None:
        await send(STREAM_HEAD)
        for event, gate in zip(events, gates, strict=True):
            await send(chunk(event))
            await gate.wait()
        await send(chunk(b""))

    upstream.handler = handler
    with running_proxy(tmp_path, upstream.url, "-s", str(script), program=lean_mitmdump) as proxy:
        answer = proxy.stream()
        assert answer.read(len(events[0])) == events[0]
        gates[0].open()
        proxy.log.wait_for("a piece of an answer was lost")
        for gate in gates[1:]:
            gate.open()
        assert answer.read() == b"".join(events[2:])
