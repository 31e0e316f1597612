"""`run` says at its end what moved and which setting helps; `explain --write` puts it into a file, and it does help."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import commands
from commands import RUN, run_module
from support import Asked, Send, Upstream, completion, response

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell reads the settings file")

AGENT = """
import contextlib, os, sys, urllib.error, urllib.request
for body in sys.argv[1:]:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer unused"}
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(urllib.error.HTTPError):
        opener.open(urllib.request.Request(url, body.encode(), headers)).read()
"""
"""Asks each of its arguments, and goes on if one is refused."""
SYSTEM = "You are an agent that books trains. Ask before you pay, and always name the platform."


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    commands.isolate(monkeypatch, tmp_path)
    return tmp_path


def chat(text: str, **members: Any) -> str:
    spoken = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    return json.dumps({"model": "m", "messages": spoken} | members)


def run(upstream: Upstream, *bodies: str) -> list[str]:
    """What `run` says at the end of an agent, with the settings of .env. The last line tells how to see its calls."""
    command = [*RUN, "--base-url", "--upstream", f"{upstream.url}/v1", "--", sys.executable, "-c", AGENT, *bodies]
    sourced = ["sh", "-c", '[ -f .env ] && { set -a; . ./.env; set +a; }; exec "$@"', "sh", *command]
    done = subprocess.run(sourced, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    *said, last = done.stderr.splitlines()
    assert last.startswith("  To see each call: computer-use-cache show ")
    return said


def answering(upstream: Upstream, text: str) -> None:
    async def handler(asked: Asked, send: Send) -> None:
        await send(response(json.dumps(completion(text)).encode()))

    upstream.handler = handler


@pytest.mark.parametrize(
    ("one", "other", "written"),
    [
        (chat("Go on.", session_id="s17"), chat("Go on.", session_id="s18"), "CACHE_IGNORE_KEYS=/session_id"),
        (chat("In job: 17 of today."), chat("In job: 18 of today."), None),
        (
            chat("Job: 17.\nGo on."),
            chat("Job: 18.\nGo on."),
            r"CACHE_NORMALIZE='s/(Job: )[\w.:-]*\d[\w:-]*([^\w \t]|[ \t]+[^\pL\s]|[ \t]*$)/\1<job>\2/'",
        ),
    ],
    ids=["field", "question", "text"],
)
def test_differences_are_named_and_cured(upstream: Upstream, one: str, other: str, written: str | None) -> None:
    answering(upstream, "Very well.")
    assert run(upstream, one) == ["computer-use-cache: 0 hits, 1 miss, 0 bypassed"]
    total, cause, *rest = run(upstream, one, other)
    assert total == "computer-use-cache: 1 hit, 1 miss, 0 bypassed"
    if written is None:
        assert (cause, rest) == ("  1 near miss at /messages/1/content: the question itself changed", [])
        return
    assert re.fullmatch(rf"  1 near miss at /\S+: a hit with {re.escape(written)}", cause)
    assert rest == ["  To put what helps into .env: computer-use-cache explain --summary --write"]
    told = run_module("explain", "--summary", "--write")
    assert told.returncode == 0
    assert f"Wrote {written} to .env.\n" in told.stderr
    assert Path(".env").read_text() == f"{written}\n"
    run(upstream, one)  # the key is another now
    [total] = run(upstream, other)
    assert re.fullmatch(r"computer-use-cache: 1 hit( \(1 rebound\))?, 0 misses, 0 bypassed", total)
    again = run_module("explain", "--summary", "--write")
    assert ".env has these settings already" in again.stderr


def test_rebound_hits_are_counted_and_what_is_refused_has_its_reason(upstream: Upstream) -> None:
    times = [f"It is 2026-1{month}-24T07:54:38Z, so go on." for month in range(3)]
    answering(upstream, "Very well.")
    run(upstream, chat(times[0]))
    assert run(upstream, chat(times[1]))[0] == "computer-use-cache: 1 hit (1 rebound), 0 misses, 0 bypassed"
    answering(upstream, "It is due tomorrow.")
    run(upstream, chat(f"{SYSTEM} {times[0]}"))
    total, cause = run(upstream, chat(f"{SYSTEM} {times[2]}"))
    assert total == "computer-use-cache: 0 hits, 1 miss, 0 bypassed"
    assert cause == "  1 near miss at /messages/1/content: not rebound: a time or date is computed: time"


def test_new_questions_and_bypasses_are_named(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(upstream, "Very well.")
    monkeypatch.setenv("CACHE_MAX_INPUT_CHARS", "2000")
    run(upstream, chat("Where do trains leave for Basel?"))
    long = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 3000}]})
    new = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Why is the sky blue?"}]})
    assert run(upstream, long, new) == [
        "computer-use-cache: 0 hits, 1 miss, 1 bypassed",
        "  1 miss: nothing similar was recorded",
        "  1 bypassed: request is larger than CACHE_MAX_INPUT_CHARS",
    ]


def test_calls_that_offline_mode_refuses_are_counted_and_explained(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(upstream, "Very well.")
    run(upstream, chat("Go on."))
    monkeypatch.setenv("CACHE_MODE", "offline")
    assert run(upstream, chat("Go on."), chat("Go back.")) == [
        "computer-use-cache: 1 hit, 0 misses, 0 bypassed, 1 refused",
        "  1 near miss at /messages/1/content: the question itself changed",
    ]


def test_one_request_is_explained_with_its_cure(upstream: Upstream) -> None:
    answering(upstream, "Very well.")
    run(upstream, chat("Go on.", session_id="s17"))
    Path("asked.json").write_text(chat("Go on.", session_id="s18"))
    os.environ["UPSTREAM_BASE_URL"] = f"{upstream.url}/v1"
    try:
        told = run_module("explain", "asked.json", "--json", "--write", "settings.env")
        shown = run_module("explain", "asked.json")
    finally:
        del os.environ["UPSTREAM_BASE_URL"]
    assert json.loads(told.stdout)["settings"] == {"CACHE_IGNORE_KEYS": "/session_id"}
    assert Path("settings.env").read_text() == "CACHE_IGNORE_KEYS=/session_id\n"
    assert "A hit with: CACHE_IGNORE_KEYS=/session_id" in shown.stdout
