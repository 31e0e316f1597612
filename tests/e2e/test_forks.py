"""`replay` and `fork`: a recorded command again, with its own streams and exit status, by real SDKs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import commands
from commands import run_module
from computer_use_cache.cli import main
from computer_use_cache.diagnosis.differences import HIDDEN
from computer_use_cache.run_models import Run
from computer_use_cache.settings import Settings
from computer_use_cache.store.opening import open_store
from support import STREAM_HEAD, Asked, Send, Upstream, chat_events, chunk, response

CHAT_AGENT = """
import datetime, os, sys, openai
client = openai.OpenAI(api_key="-".join(("sk", "test", "key")), max_retries=0)
now = datetime.datetime.now().isoformat()
messages = [{"role": "system", "content": f"It is {now}. " + os.environ.get("PROMPT", "")}]
for step in range(3):
    messages.append({"role": "user", "content": f"Step {step + 1}?"})
    stream = client.chat.completions.create(model="gpt-a", messages=messages, stream=True)
    said = "".join(part.choices[0].delta.content or "" for part in stream if part.choices)
    print(said, flush=True)
    messages.append({"role": "assistant", "content": said})
sys.exit(7)
"""
MESSAGES_AGENT = """
import anthropic
client = anthropic.Anthropic(api_key="-".join(("sk", "test", "key")), max_retries=0)
messages = []
for step in range(2):
    messages.append({"role": "user", "content": f"Step {step + 1}?"})
    answer = client.messages.create(model="claude-a", max_tokens=99, messages=messages)
    print(answer.content[0].text, flush=True)
    messages.append({"role": "assistant", "content": answer.content})
"""


async def answer(asked: Asked, send: Send) -> None:
    """A model that says its name and the number of the question, in the shape that was asked for."""
    body = asked.json()
    text = f"{body['model']} {sum(message['role'] == 'user' for message in body['messages'])}"
    if asked.path.endswith("/messages"):
        said = {"type": "message", "id": "m", "role": "assistant", "model": body["model"], "stop_reason": "end_turn"}
        said |= {"content": [{"type": "text", "text": text}], "usage": {"input_tokens": 1, "output_tokens": 1}}
        await send(response(json.dumps(said).encode()))
    else:
        await send(STREAM_HEAD + b"".join(map(chunk, [*chat_events(text), b""])))


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, upstream: Upstream) -> Path:
    commands.isolate(monkeypatch, tmp_path)
    upstream.handler = answer
    return tmp_path


def record(upstream: Upstream, script: str) -> subprocess.CompletedProcess[str]:
    Path("agent.py").write_text(script)
    base = upstream.url if "chat" in script else upstream.url.removesuffix("/v1")
    return run_module("run", "--base-url", "--upstream", base, "--", sys.executable, "agent.py")


def runs() -> list[Run]:
    with contextlib.closing(open_store(Settings.load({}))) as store:
        return store.run_log.runs(99)


def outcomes(run: Run) -> str:
    with contextlib.closing(open_store(Settings.load({}))) as store:
        return " ".join(call.outcome for call in store.run_log.calls(run.id))


def test_a_run_is_replayed_forked_and_its_fork_replayed(
    upstream: Upstream, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = record(upstream, CHAT_AGENT)
    assert (done.stdout, done.returncode) == ("gpt-a 1\ngpt-a 2\ngpt-a 3\n", 7), done.stderr
    upstream.asked.clear()

    done = run_module("replay")
    assert (done.stdout, done.returncode) == ("gpt-a 1\ngpt-a 2\ngpt-a 3\n", 7), done.stderr
    assert "replayed: 3 calls, all recorded." in done.stderr
    [replayed, recorded] = runs()
    assert (replayed.parent, outcomes(replayed)) == (recorded.id, "HIT HIT HIT")

    monkeypatch.setenv("PROMPT", "Be brief.")
    done = run_module("replay", "--json")
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert (told["parent"], told["hits"], told["calls"]) == (recorded.id, 0, 1), (
        "a replay of the run, not of its replay"
    )
    [drift] = told["drifts"]
    assert (drift["step"], drift["present"][-9:]) == (1, "Be brief.")
    assert drift["place"].startswith("/messages/0/content @ char ")

    done = run_module("fork", recorded.id, "--from", "3")
    assert done.returncode == 1
    assert "was not forked: its command never reached step 3" in done.stderr
    assert "  step 1: fork --from lets nothing go upstream: no entry answers this request" in done.stderr
    assert upstream.asked == [], "nothing went upstream"
    monkeypatch.delenv("PROMPT")

    done = run_module("fork", recorded.id, "--from", "2", "--model", "gpt-b")
    assert (done.stdout, done.returncode) == ("gpt-a 1\ngpt-b 2\ngpt-a 3\n", 7), done.stderr
    assert [asked.json()["model"] for asked in upstream.asked] == ["gpt-b", "gpt-a"]
    forked = runs()[0]
    assert (forked.parent, outcomes(forked)) == (recorded.id, "HIT MISS MISS")
    assert f"computer-use-cache diff {recorded.id} {forked.id}" in done.stderr

    done = run_module("replay", forked.id)
    assert (done.stdout, done.returncode) == ("gpt-a 1\ngpt-b 2\ngpt-a 3\n", 7), done.stderr
    assert [run.origin for run in runs()[:2]] == [f"replay of {forked.id}", f"fork of {recorded.id}"]
    assert main(["runs", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told[1]["forks"] == [{"run": forked.id, "after": 1, "model": "gpt-b"}]


def test_an_answer_is_given_in_a_models_place(upstream: Upstream, folder: Path) -> None:
    assert record(upstream, MESSAGES_AGENT).stdout == "claude-a 1\nclaude-a 2\n"
    Path("given").write_text("Say it again.")
    upstream.asked.clear()
    done = run_module("fork", "--from", "1", "--answer", "given", "--json")
    assert done.returncode == 0
    assert done.stderr.splitlines()[:3] == [
        f"$ {sys.executable} agent.py   # in {folder}",
        "Say it again.",
        "claude-a 2",
    ]
    told = json.loads(done.stdout)
    assert (told["forked"], told["from"], told["calls"], told["refused"]) == (True, 1, 2, [])
    [asked] = upstream.asked
    assert asked.json()["messages"][1]["content"][0]["text"] == "Say it again."


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("replay nosuch", "there is no run 'nosuch'"),
        ("replay r1", "run r1 has no command to run again: it was recorded behind `start`"),
        ("replay r2", "the command of run r2 held a credential, which was not kept"),
        ("replay r3", "the folder of run r3 cannot be entered"),
        ("fork r4 --from 1", "--from 1: run r4 has 0 steps"),
        ("fork r4 --from 0", "--from"),
        ("fork r4 --from 1 --model m --answer given", "give --model or --answer"),
        ("fork r4 --from 1 --answer empty", "empty is empty"),
        ("fork r4 --from 1 --answer missing", "missing cannot be read"),
    ],
)
def test_what_cannot_be_run_again_is_said(
    arguments: str, told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "given").write_text("x")
    (folder / "empty").write_text(" ")
    here = str(folder)
    with contextlib.closing(open_store(Settings.load({}))) as store:
        for name, command, place in (
            ("r1", (), here),
            ("r2", ("agent", HIDDEN), here),
            ("r3", ("a",), "/no"),
            ("r4", ("a",), here),
        ):
            store.run_log.add_run(Run(id=name, name="x", began=1.0, ended=2.0, command=command, folder=place))
    assert main(arguments.split()) in (1, 2)
    assert told in capsys.readouterr().err
