"""Recorded traffic fills the cache: what plain mitmproxy saw is served with the upstream gone."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import ENTRY, Asked, Proxy, Send, Upstream, answer_chat, chat_request, completion, response, running_proxy

MITMDUMP = str(Path(sys.executable).parent / "mitmdump")


async def answer(asked: Asked, send: Send) -> None:
    body = asked.json() if asked.method == "POST" else {}
    if body.get("model") == "failing":
        await send(response(b"{}", 500))
    elif body.get("model") == "gzipped":
        packed = gzip.compress(json.dumps(completion("pong") | {"model": "gzipped"}).encode())
        await send(response(packed, content_encoding="gzip"))
    else:
        await answer_chat(asked, send)


@pytest.fixture
def flows(tmp_path: Path, upstream: Upstream) -> Path:
    """A flow file of plain mitmdump, which has seen two whole answers, a compressed one, a failure and a GET."""
    upstream.handler = answer
    path = tmp_path / "capture"
    nothing = tmp_path / "nothing.py"
    nothing.write_text("")
    with running_proxy(tmp_path, upstream.url, "-w", str(path), entry=nothing) as plain:
        plain.chat("json")
        plain.stream("sse").read()
        plain.chat(model="gzipped")
        plain.chat(model="failing")
        plain.ask("GET", "/v1/models")
        plain.stop()
    upstream.stop()
    return path


def mitmdump(folder: Path, *arguments: str) -> str:
    """Plain mitmdump with the addon and without a server, to its end; what it printed."""
    environment = os.environ | {"CACHE_DIR": str(folder / "store")}
    command = [MITMDUMP, "-n", "-s", str(ENTRY), "--set", f"confdir={folder}/mitmproxy", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


@contextlib.contextmanager
def replaying(folder: Path, upstream: Upstream) -> Iterator[Proxy]:
    with running_proxy(folder, upstream.url, CACHE_MODE="offline") as proxy:
        yield proxy


def assert_served(proxy: Proxy) -> None:
    assert proxy.chat("json").json()["choices"][0]["message"]["content"] == "pong"
    assert proxy.chat("json", stream=True).cache == "HIT"
    assert proxy.chat("sse").json()["choices"][0]["message"]["content"] == "pong"
    assert b"[DONE]" in proxy.stream("sse").read()
    assert proxy.chat(model="gzipped").json()["model"] == "gzipped"
    assert proxy.chat(model="failing").status == 404


def test_flows_that_mitmdump_reads_from_a_file_fill_the_cache(tmp_path: Path, flows: Path, upstream: Upstream) -> None:
    told = mitmdump(tmp_path, "-r", str(flows))
    assert "loaded flows: 3 stored, skipped {'status 500': 1, 'not a call of a cached API': 1}" in told
    again = mitmdump(tmp_path, "-r", str(flows), "--mode", "reverse:http://other.example")
    assert "loaded flows: 0 stored" in again, "the host it was recorded for counts, not the mode's"
    assert "'stored already': 3" in again
    with replaying(tmp_path, upstream) as proxy:
        counted = proxy.stats()
        assert (counted["entries"], counted["stored"]) == (3, 3)
        assert (counted["hits"], counted["misses"], counted["bypasses"]) == (0, 0, {})
        assert_served(proxy)


def test_loaded_flows_are_left_as_they_are(tmp_path: Path, flows: Path) -> None:
    copy = tmp_path / "copy"
    mitmdump(tmp_path, "-r", str(flows), "-w", str(copy))
    assert copy.read_bytes() == flows.read_bytes()


def test_import_takes_a_flow_file(tmp_path: Path, flows: Path, upstream: Upstream) -> None:
    environment = os.environ | {"CACHE_DIR": str(tmp_path / "store"), "PYTHONPATH": str(ENTRY.parent)}
    command = [sys.executable, "-m", "computer_use_cache", "import", "--json", str(flows)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert (told["imported"], told["damaged"], done.stderr) == (3, [], "")
    assert told["skipped"] == {"status 500": 1, "not a call of a cached API": 1}
    with replaying(tmp_path, upstream) as proxy:
        assert_served(proxy)
        assert chat_request("sse")["model"] in proxy.stats()["models"]
