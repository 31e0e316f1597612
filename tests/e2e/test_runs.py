"""Runs, end to end: what `run` and `start` record, and the commands that show it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest

import commands
from commands import run_around
from computer_use_cache.models import Outcome
from computer_use_cache.run_models import Call, Run
from computer_use_cache.settings import Settings
from computer_use_cache.store.opening import open_store
from support import Upstream

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


def test_run_records_its_command_with_its_calls_and_its_exit_status(upstream: Upstream, folder: Path) -> None:
    command = (sys.executable, "agent.py", "ping", "ping", "pong")
    done = run_around("--base-url", "--upstream", f"{upstream.url}/v1", "--cache-samples", "latest", "--", *command)
    [(run, calls)] = recorded()
    assert (run.command, run.name, run.folder, run.status) == (command, " ".join(command), str(folder), 3)
    assert [call.outcome for call in calls] == [Outcome.MISS, Outcome.HIT, Outcome.MISS]
    assert run.began <= calls[0].at < calls[1].at < calls[2].at < run.ended
    assert done.stderr.splitlines()[-1] == f"  To see each call: computer-use-cache show {run.id}"
