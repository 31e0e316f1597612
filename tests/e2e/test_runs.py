"""Runs, end to end: what `run` and `start` record, and the commands that show it."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
from itertools import islice
from pathlib import Path
from typing import Any
from urllib import request

import pytest

import commands
from commands import run_around
from computer_use_cache.models import Outcome
from computer_use_cache.run_models import Call, Run
from computer_use_cache.settings import Settings
from computer_use_cache.store.opening import open_store
from support import Upstream, chat_request

AGENT = """
import json, os, sys, urllib.request
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
for text in sys.argv[1:]:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})).read()
sys.exit(3)
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    commands.isolate(monkeypatch, tmp_path)
    (tmp_path / "agent.py").write_text(AGENT)
    return tmp_path


def recorded() -> list[tuple[Run, list[Call]]]:
    with contextlib.closing(open_store(Settings.load({}))) as store:
        return [(run, store.run_log.calls(run.id)) for run in store.run_log.runs(9)]


def ask(url: str, body: Any, headers: dict[str, str]) -> Any:
    sent = request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"} | headers)
    with request.urlopen(sent, timeout=30) as answer:
        return json.load(answer)


def test_run_records_its_command_with_its_calls_and_its_exit_status(upstream: Upstream, folder: Path) -> None:
    command = (sys.executable, "agent.py", "ping", "ping", "pong")
    upstream_flags = ("--base-url", "--upstream", f"{upstream.url}/v1")
    done = run_around(*upstream_flags, "--cache-samples", "latest", "-v", "--", *command)
    [(run, calls)] = recorded()
    assert (run.command, run.name, run.folder, run.status) == (command, " ".join(command), str(folder), 3)
    assert [call.outcome for call in calls] == [Outcome.MISS, Outcome.HIT, Outcome.MISS]
    assert run.began <= calls[0].at < calls[1].at < calls[2].at < run.ended
    *lines, total, _, last = done.stderr.splitlines()
    outcomes = [re.match(r"\d\d:\d\d:\d\d  (MISS|HIT) .*  step (\d)   \"pong\"", line) for line in lines]
    assert [found and found.groups() for found in outcomes] == [("MISS", "1"), ("HIT", "2"), ("MISS", "3")], done.stderr
    assert total.startswith("computer-use-cache: 1 hit, 2 misses")
    assert last == f"  To see each call: computer-use-cache show {run.id}"


def test_workers_record_one_run_and_print_its_calls_as_json(upstream: Upstream) -> None:
    flags = ("--workers", "2") if hasattr(socket, "SO_REUSEPORT") else ()
    with commands.started(*flags, "--log-json", "--upstream", f"{upstream.url}/v1") as running:
        assert running.process.stdout
        for number in range(12):  # each on a connection of its own
            ask(f"{running.url}/v1/chat/completions", chat_request(str(number % 6)), {"x-cache-run": "nightly"})
        lines = (json.loads(line) for line in running.process.stdout if line.startswith("{"))
        printed = list(islice(lines, 12))
        [(run, calls)] = recorded()
        assert (run.name, run.status) == ("nightly", None)
        assert sorted(call["step"] for call in printed) == list(range(1, 13))
        assert {call["run"] for call in printed} == {run.id}
        assert [call["asked"] for call in sorted(printed, key=lambda one: one["step"])] == [one.asked for one in calls]
        answer = ask(f"{running.url}/cache/clear", {"run": run.id[:9]}, {"x-cache-admin-token": ""})
        assert answer == {"ok": True, "deleted": 1, "run": run.id}
        assert recorded() == []
