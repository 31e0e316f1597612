"""A miss says in its headers, its offline error and on the command line where the nearest stored request differs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import screenshots
import support
from support import FAKE_KEY, Proxy, Upstream, chat_request, running_proxy

SYSTEM = {"role": "system", "content": "You are an agent. Answer in one word, and never apologise for the weather."}
EDITED = {"role": "system", "content": "You are an agent. Answer in two words, and never apologise for the weather."}
PLACE = "/messages/0/content @ char 28"


def turn(system: dict[str, str], text: str) -> dict[str, Any]:
    return chat_request(messages=[system, {"role": "user", "content": text}])


def command(folder: Path, *arguments: str, given: str = "", **environment: str) -> Any:
    """What a command prints as JSON, for the store of a proxy."""
    settings = {"CACHE_DIR": str(folder / "store"), "PORT": "1"} | environment
    done = subprocess.run(
        [sys.executable, "-m", "computer_use_cache", *arguments, "--json"],
        input=given,
        env={name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
        | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_run_with_an_edited_prompt_is_explained(proxy: Proxy, upstream: Upstream, tmp_path: Path) -> None:
    for text in (
        "Where do trains leave for Basel?",
        "At what time is breakfast served?",
        "How can a lost ticket be replaced?",
    ):
        first = proxy.post("/v1/chat/completions", turn(SYSTEM, text))
        assert "x-computer-use-cache-reason" not in first.headers
        again = proxy.post("/v1/chat/completions", turn(EDITED, text))
        recorded = first.headers["x-computer-use-cache-key"]
        assert again.headers["x-computer-use-cache-reason"] == f"near-miss {recorded[:8]}: {PLACE}"
        assert again.headers["x-computer-use-cache-store"] == "stored"
    answer = proxy.chat("Something else altogether", stream=True)
    assert "near-miss" not in answer.headers.get("x-computer-use-cache-reason", "")

    groups = command(tmp_path, "explain", "--summary")
    assert [(group["path"], group["misses"]) for group in groups] == [("/messages/0/content", 3)]
    assert groups[0]["example"]["differences"][0]["asked"] == "swer in two words, and never apo"
    assert command(tmp_path, "explain", "--summary", "--since", "0") == []
    printed = subprocess.run(
        [sys.executable, "-m", "computer_use_cache", "explain", "--summary"],
        env=os.environ | {"CACHE_DIR": str(tmp_path / "store"), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "│ /messages/0/content │ 3 " in printed.stdout

    request = json.dumps(turn(EDITED, "How can a stolen ticket be replaced?"))
    told = command(tmp_path, "explain", "-", given=request, UPSTREAM_BASE_URL=upstream.url)
    assert (told["outcome"], told["differences"][0]["path"]) == ("MISS", "/messages/1/content")
    told = command(
        tmp_path,
        "explain",
        "-",
        given=json.dumps(turn(EDITED, "How can a lost ticket be replaced?")),
        UPSTREAM_BASE_URL=upstream.url,
    )
    assert told["outcome"] == "HIT"


def test_an_offline_miss_names_the_nearest_entry(upstream: Upstream, tmp_path: Path) -> None:
    with running_proxy(tmp_path, upstream.url) as proxy:
        recorded = proxy.post("/v1/chat/completions", turn(SYSTEM, "Where do trains leave for Basel?")).headers[
            "x-computer-use-cache-key"
        ]
        assert proxy.stop() == 0
    with running_proxy(tmp_path, upstream.url, CACHE_MODE="offline") as proxy:
        refused = proxy.post("/v1/chat/completions", turn(EDITED, "Where do trains leave for Basel?"))
        strange = proxy.chat("Something else altogether")
        counted = proxy.stats()
        assert (counted["misses"], counted["refusals"]) == (1, 2)
    assert (refused.status, strange.status) == (404, 404)
    assert f"the nearest, {recorded[:8]}, differs at {PLACE}" in refused.json()["error"]["message"]
    told = refused.headers
    assert (refused.cache, told["x-computer-use-cache-reason"]) == ("MISS", f"near-miss {recorded[:8]}: {PLACE}")
    status = f'computer-use-cache; detail=not-forwarded; key="{told["x-computer-use-cache-key"]}"'
    assert told["cache-status"] == status
    assert (strange.cache, "x-computer-use-cache-reason" in strange.headers) == ("MISS", False)
    assert "nearest" not in strange.json()["error"]["message"]
    assert len(upstream.asked) == 1
    [group] = command(tmp_path, "explain", "--summary")
    assert group["misses"] == 1


def test_a_miss_that_is_not_stored_names_the_nearest_entry_too(upstream: Upstream, tmp_path: Path) -> None:
    with running_proxy(tmp_path, upstream.url) as proxy:
        question = "Where do trains leave for Basel?"
        recorded = proxy.post("/v1/chat/completions", turn(SYSTEM, question)).headers["x-computer-use-cache-key"]
        missed = proxy.post("/v1/chat/completions", turn(EDITED, question), {"x-cache-mode": "readonly"})
    forbidden = "X-Cache-Mode: readonly forbids storing"
    assert missed.headers["x-computer-use-cache-store"] == f"skipped: {forbidden}"
    assert missed.headers["x-computer-use-cache-reason"] == f"near-miss {recorded[:8]}: {PLACE}; {forbidden}"


QUESTION = "Where do trains leave for Basel, and from which platform?"
APIS: dict[str, tuple[Any, Any, str, Any]] = {
    "/v1/responses": (
        lambda text: {"model": "m", "input": text},
        {
            "object": "response",
            "status": "completed",
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "x"}]}],
        },
        "/input @ char 27",
        lambda error: error["error"] if error["error"]["code"] == "cache_offline_miss" else None,
    ),
    "/v1/messages": (
        lambda text: {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": text}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "x"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
        },
        "/messages/0/content @ char 27",
        lambda error: error["error"] if error["type"] == "error" else None,
    ),
    "/v1beta/models/m:generateContent": (
        lambda text: {"contents": [{"role": "user", "parts": [{"text": text}]}]},
        {"candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [{"text": "x"}]}}]},
        "/contents/0/parts/0/text @ char 27",
        lambda error: error["error"] if error["error"]["status"] == "NOT_FOUND" else None,
    ),
}
"""Of each API: a question, an answer, where the other question differs, and the part of its error with the message."""


@pytest.mark.parametrize("path", APIS)
def test_an_offline_miss_names_the_nearest_entry_in_each_apis_own_form(
    upstream: Upstream, tmp_path: Path, path: str
) -> None:
    ask, answer, place, part = APIS[path]
    upstream.handler = support.always(support.response(json.dumps(answer).encode()))
    with running_proxy(tmp_path, upstream.url) as proxy:
        recorded = proxy.post(path, ask(QUESTION))
        assert recorded.headers["x-computer-use-cache-store"] == "stored"
        offline = {"x-cache-mode": "offline"}
        refused = proxy.post(path, ask(QUESTION.replace("Basel", "Bern")), offline)
    assert refused.status == (404 if path.startswith("/v1beta/") else 400), "no agent of this API retries it"
    nearest = recorded.headers["x-computer-use-cache-key"][:8]
    assert f"the nearest, {nearest}, differs at {place}" in part(refused.json())["message"]
    assert "X-Cache-Mode: offline lets nothing go upstream" in part(refused.json())["message"]
    assert len(upstream.asked) == 1


def test_an_audit_finds_the_answers_that_changed_and_leaves_the_store_alone(upstream: Upstream, tmp_path: Path) -> None:
    texts = {}

    async def answer(asked: support.Asked, send: support.Send) -> None:
        text = asked.json()["messages"][-1]["content"]
        said = texts.get(text, text.upper())
        usage = {"prompt_tokens": len(upstream.asked), "completion_tokens": 1, "total_tokens": 1}
        if asked.json().get("stream"):
            await send(support.STREAM_HEAD + b"".join(map(support.chunk, [*support.chat_events(said), b""])))
        else:
            made = support.completion(said, id=f"chatcmpl-{len(upstream.asked)}", usage=usage)
            await send(support.response(json.dumps(made).encode()))

    upstream.handler = answer
    with running_proxy(tmp_path, upstream.url) as proxy:
        for text in ("one", "two", "three"):
            proxy.chat(text)
        proxy.chat("four", stream=True)
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 200}}
        proxy.chat("", messages=[{"role": "user", "content": [picture]}, {"role": "user", "content": "five"}])
        sent_before = {asked.body for asked in upstream.asked}
        before = proxy.ask("GET", "/cache/entries").json()
        texts |= {"two": "deux", "four": "quatre"}
        asked_before = len(upstream.asked)
        secret = "-".join(("the", "operators", "key"))
        environment = {"UPSTREAM_BASE_URL": upstream.url, "UPSTREAM_API_KEY": secret}
        report = command(tmp_path, "audit", "--yes", **environment)
        assert (report["asked"], report["same"], report["changed"], report["failed"]) == (5, 3, 2, 0)
        assert report["left_out"] == {}
        changed = [row for row in report["requests"] if row["outcome"] == "changed"]
        assert sorted(row["difference"]["asked"] for row in changed) == ["deux", "quatre"]
        assert len(upstream.asked) == asked_before + 5
        assert {asked.body for asked in upstream.asked[asked_before:]} == sent_before, "byte for byte"
        assert all(asked.headers["authorization"] == f"Bearer {secret}" for asked in upstream.asked[asked_before:])
        assert proxy.ask("GET", "/cache/entries").json() == before
        upstream.handler = support.always(support.response(b"{}", 401))
        report = command(tmp_path, "audit", "--yes", "--sample", "2", **environment)
        assert (report["asked"], report["failed"]) == (2, 2)
        assert "set UPSTREAM_API_KEY" in report["requests"][0]["reason"]
        shutil.rmtree(tmp_path / "store" / "media")
        report = command(tmp_path, "audit", "--yes", **environment)
        assert (report["asked"], report["left_out"]) == (4, {"its pictures are no longer stored": 1})
    assert FAKE_KEY not in json.dumps(report)


CLOCKS = ("9:41:07 AM", "9:42:55 AM")


def test_an_audit_of_hits_by_a_mask_compares_what_was_served_and_names_the_rule(
    upstream: Upstream, tmp_path: Path
) -> None:
    mask = "640x480:500,4,636,28"

    def looking(clock: str, price: str) -> dict[str, Any]:
        url = screenshots.coded(screenshots.png(screenshots.screen(clock=clock, price=price)))
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What does it cost?"}]
        return support.chat_request(messages=[{"role": "user", "content": content}])

    dear = {json.dumps(looking(clock, "9.90")) for clock in CLOCKS}
    cheap = "8 EUR"

    async def answer(asked: support.Asked, send: support.Send) -> None:
        text = "9 EUR" if json.dumps(asked.json()) in dear else cheap
        await send(support.response(json.dumps(support.completion(text)).encode()))

    upstream.handler = answer
    with running_proxy(tmp_path, upstream.url, CACHE_IMAGE_MASK=mask) as proxy:
        for clock, outcome in zip(CLOCKS, ("MISS", "HIT"), strict=True):
            for price in ("9.90", "8.90"):
                told = proxy.post("/v1/chat/completions", looking(clock, price))
                assert told.cache == outcome
        assert told.headers["x-computer-use-cache-rebound"] == "image-mask 1"
        assert proxy.stop() == 0
    asked, cheap = len(upstream.asked), "7 EUR"
    settings = {"UPSTREAM_BASE_URL": upstream.url, "CACHE_IMAGE_MASK": mask}
    report = command(tmp_path, "audit", "--inexact", "--yes", **settings)
    assert (report["asked"], report["same"], report["changed"]) == (2, 1, 1), report
    assert [row["rules"] for row in report["requests"]] == [["image-mask"]] * 2
    sent = [each.json() for each in upstream.asked[asked:]]
    assert all(each in (looking(CLOCKS[1], "9.90"), looking(CLOCKS[1], "8.90")) for each in sent)
