"""Whole lives of requests whose values move: rebound or refused, each with its own credentials, never another run's."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache.exchange.decisions import Answer, Forward, Refuse, Serve, Share
from computer_use_cache.exchange.exchange import Exchange
from computer_use_cache.exchange.rendering import cache_status, log_line, reason
from computer_use_cache.exchange.result import Result
from computer_use_cache.exchange.states import State
from computer_use_cache.models import Outcome, Reason, Response, Skip, Skipped
from credential_samples import TEXTS, VALUES, token
from exchange.house import GOOD, House, failure
from support import chat_events, completion

ON = {"x-cache-rebind": "on"}
FIRST, SECOND = "/tmp/tmp.k3J9xQ2aLm", "/tmp/tmp.Zw81hTpB0c"


def saying(text: str, **headers: str) -> Response:
    body = json.dumps(completion(text)).encode()
    return Response(200, {"content-type": "application/json", **headers}, body, 2.0)


def streaming(*texts: str) -> Response:
    return Response(200, {"content-type": "text/event-stream"}, b"".join(chat_events(*texts)), 2.0)


def served(answer: Answer | Forward) -> bytes:
    assert isinstance(answer, (Serve, Share)), answer
    return b"".join(answer.pieces)


def content(body: bytes) -> str:
    if body.startswith(b"{"):
        return str(json.loads(body)["choices"][0]["message"]["content"])
    chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


async def results(house: House, exchange: Exchange, answer: Response = GOOD) -> Result:
    """The result of a request, which gets this answer if it goes upstream."""
    decision = await exchange.resolve()
    if isinstance(decision, Forward):
        return exchange.settle(await exchange.on_response(answer), house.now)
    return exchange.settle(decision, house.now)


def run[T](folder: Path, life: Callable[[House], Awaitable[T]], **environment: str) -> T:
    """Let a life happen in a new proxy."""
    house = House(folder / "store", **environment)
    try:
        return asyncio.run(asyncio.wait_for(life(house), 60))  # type: ignore[arg-type]
    finally:
        house.store.close()


# -- rebinding


@pytest.mark.parametrize("recorded", ["json", "stream"])
@pytest.mark.parametrize("asked", ["json", "stream"])
def test_an_answer_is_served_with_the_present_values(tmp_path: Path, recorded: str, asked: str) -> None:
    async def life(house: House) -> None:
        answer = saying(f"wrote {FIRST}/a") if recorded == "json" else streaming("wrote /tmp/tmp.k3", "J9xQ2aLm/a")
        await results(house, house.asks(ON, text=f"use {FIRST}", stream=recorded == "stream"), answer)
        exchange = house.asks(ON, text=f"use {SECOND}", stream=asked == "stream")
        answer_now = await exchange.resolve()
        assert content(served(answer_now)) == f"wrote {SECOND}/a"
        result = exchange.settle(answer_now, house.now)  # type: ignore[arg-type]
        assert (result.outcome, result.rebound) == (Outcome.HIT, (("tmp", 1),))
        assert cache_status(result).endswith("; detail=rebound")
        assert "rebound tmp 1" in log_line(result)
        assert (house.counted().rebound_hits, house.counted().rebound) == (1, {"tmp": 1})

    run(tmp_path, life)


def test_an_answer_without_a_moved_value_is_replayed_byte_for_byte(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        recorded = streaming("do", "ne")
        await results(house, house.asks(ON, text=f"use {FIRST}", stream=True), recorded)
        exchange = house.asks(ON, text=f"use {SECOND}", stream=True)
        answer = await exchange.resolve()
        assert served(answer) == recorded.body
        assert exchange.settle(answer, house.now).rebound == (("tmp", 0),)  # type: ignore[arg-type]

    run(tmp_path, life)


@pytest.mark.parametrize(
    ("headers", "environment", "outcome"),
    [
        ({}, {}, Outcome.MISS),
        (ON, {}, Outcome.HIT),
        ({}, {"CACHE_REBIND": "on"}, Outcome.HIT),
        ({"x-cache-rebind": "off"}, {"CACHE_REBIND": "on"}, Outcome.MISS),
        (ON | {"cache-control": "no-cache"}, {}, Outcome.MISS),
        (ON | {"cache-control": "max-age=5"}, {}, Outcome.MISS),
        (ON | {"cache-control": "max-age=15"}, {}, Outcome.HIT),
        (ON | {"x-cache-namespace": "other"}, {}, Outcome.MISS),
        (ON | {"x-cache-sample": "2"}, {}, Outcome.MISS),
    ],
)
def test_rebinding_is_asked_for_and_heeds_the_controls(
    tmp_path: Path, headers: dict[str, str], environment: dict[str, str], outcome: Outcome
) -> None:
    async def life(house: House) -> None:
        await results(house, house.asks(text=f"use {FIRST}"))
        house.now += 10
        assert (await results(house, house.asks(headers, text=f"use {SECOND}"))).outcome is outcome

    run(tmp_path, life, **environment)


def test_an_expired_entry_is_not_rebound(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        await results(house, house.asks(ON | {"x-cache-ttl": "10"}, text=f"use {FIRST}"))
        house.now += 10
        assert (await results(house, house.asks(ON, text=f"use {SECOND}"))).outcome is Outcome.MISS

    run(tmp_path, life)


def test_a_refusal_is_a_miss_with_its_reason(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        question = "It is {}. When is the deadline?"
        await results(
            house, house.asks(ON, text=question.format("2026-11-24T07:54:38Z")), saying("tomorrow, 25 November")
        )
        result = await results(house, house.asks(ON, text=question.format("2026-12-01T07:54:38Z")))
        assert result.outcome is Outcome.MISS
        assert reason(result).startswith("not rebound: a time or date is computed")
        assert house.counted().not_rebound == {"a time or date is computed": 1}

    run(tmp_path, life)


def test_the_newest_answer_of_a_template_is_served(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        for name in ("one", "two"):
            await results(house, house.asks(text=f"use /tmp/tmp.{name}K3J9xQ2"), saying(name))
            house.now += 1
        exchange = house.asks(ON, text=f"use {SECOND}")
        assert content(served(await exchange.resolve())) == "two"

    run(tmp_path, life)


CALL: dict[str, Any] = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}
ANSWERED = {"input": [CALL, {"type": "function_call_output", "call_id": "call_1", "output": "a page"}]}
SNAPSHOT = {
    "type": "function",
    "name": "browser_snapshot",
    "description": "Capture accessibility snapshot of the current page, this is better than screenshot",
}


@pytest.mark.parametrize(
    ("fields", "headers", "is_hit"),
    [
        ({}, {}, False),
        ({"store": False}, {}, True),
        ({}, {"x-cache-mode": "offline"}, True),
        ({"instructions": "You are extracting content on behalf of a user."}, {}, True),
        (ANSWERED, {}, False),
        (ANSWERED | {"tools": [SNAPSHOT]}, {}, True),
        ({"tools": [SNAPSHOT]}, {}, False),
        (ANSWERED | {"tools": [SNAPSHOT], "previous_response_id": "resp_0"}, {}, False),
    ],
    ids=[
        *("kept", "not kept", "offline", "an agent that asks everything at once", "a history in full"),
        *("an agent that carries it", "its first call", "such an agent that names an answer"),
    ],
)
def test_an_answer_that_the_provider_keeps_is_not_rebound(
    tmp_path: Path, fields: dict[str, Any], headers: dict[str, str], is_hit: bool
) -> None:
    async def life(house: House) -> None:
        def asks(folder: str, headers: dict[str, str]) -> Exchange:
            asked = [{"role": "user", "content": f"use {folder}"}, *fields.get("input", ())]
            return house.begins("/responses", {"model": "m", **fields, "input": asked}, headers)

        item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "done"}]}
        body = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [item]}
        answer = Response(200, {"content-type": "application/json"}, json.dumps(body).encode(), 1.0)
        await results(house, asks(FIRST, ON), answer)
        result = await results(house, asks(SECOND, ON | headers), answer)
        assert (result.outcome is Outcome.HIT) is is_hit
        assert is_hit or "the provider keeps the answer" in reason(result)

    run(tmp_path, life)


@pytest.mark.parametrize("is_rebound", [True, False])
def test_offline_nothing_continues_an_answer_that_was_rebound(tmp_path: Path, is_rebound: bool) -> None:
    """A later answer of that conversation may repeat a value that no later request names."""

    async def life(house: House) -> None:
        def asks(text: str, headers: dict[str, str], **fields: Any) -> Exchange:
            return house.begins("/responses", {"model": "m", "input": text, **fields}, headers)

        for name, text, fields in (
            ("resp_1", f"use {FIRST}", {}),
            ("resp_2", "on", {"previous_response_id": "resp_1"}),
        ):
            item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": FIRST}]}
            body = {"id": name, "object": "response", "status": "completed", "model": "m", "output": [item]}
            answer = Response(200, {"content-type": "application/json"}, json.dumps(body).encode(), 1.0)
            await results(house, asks(text, ON, **fields), answer)
        offline = ON | {"x-cache-mode": "offline"}
        await results(house, asks(f"use {SECOND if is_rebound else FIRST}", offline))
        result = await results(house, asks("on", offline, previous_response_id="resp_1"))
        assert (result.outcome is Outcome.HIT) is not is_rebound

    run(tmp_path, life)


def test_what_is_known_about_a_run_is_bound(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        def asks(folder: str) -> Exchange:
            return house.asks(ON | {"x-cache-bind": f"cwd={folder}"}, text=f"The project is {folder}/app.")

        await results(house, asks("/home/anna/shop"), saying("see /home/anna/shop/app/main.py"))
        answer = await asks("/builds/7/shop-ci").resolve()
        assert content(served(answer)) == "see /builds/7/shop-ci/app/main.py"

    run(tmp_path, life)


def test_offline_says_why_an_answer_was_not_rebound(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        await results(house, house.asks(text="use /tmp/build"))
        answer = await house.asks(ON | {"x-cache-mode": "offline"}, text="use /tmp/deploy").resolve()
        assert isinstance(answer, Refuse)
        assert "not rebound: names differ in words" in answer.error.message

    run(tmp_path, life)


# -- values that normalisers take out


@pytest.mark.parametrize(
    ("rules", "first", "second", "answer", "expected"),
    [
        (r"s/run-\w+/run/", "run-a81kx", "run-b92ly", "run-a81kx is done", "run-b92ly is done"),
        (r"s/ticket (\w+)/ticket/", "ticket K8177x", "ticket K8199y", "all done", "all done"),
        (r"s/ticket \w+/ticket/", "ticket a81kx", "ticket b92ly", "a81kx: done", "b92ly: done"),
        (r"s/try \d+/try/", "try 7", "try 8", "after 7 tries", None),
        ("uuids", "550e8400-e29b-41d4-a716-446655440000", "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d", "pong", "pong"),
        (
            "timestamps",
            "2026-11-24T07:54:38Z",
            "2026-11-25T09:00:00Z",
            "at 2026-11-24T07:54:38Z",
            "at 2026-11-25T09:00:00Z",
        ),
    ],
)
def test_a_normalised_value_is_rebound_or_refused_and_never_served_stale(
    tmp_path: Path, rules: str, first: str, second: str, answer: str, expected: str | None
) -> None:
    async def life(house: House) -> None:
        await results(house, house.asks(text=f"{first}, go"), saying(answer))
        assert (await results(house, house.asks(text=f"{first}, go"))).rebound == ()
        found = await house.asks(text=f"{second}, go").resolve()
        assert (content(served(found)) if expected else type(found)) == (expected or Forward)

    run(tmp_path, life, CACHE_NORMALIZE=rules)


@pytest.mark.parametrize(
    ("store", "present", "said", "outcome"),
    [
        pytest.param(True, FIRST, f"in {FIRST}", Outcome.HIT, id="nothing moved"),
        pytest.param(True, SECOND, f"in {FIRST}", Outcome.MISS, id="the provider keeps the other run's answer"),
        pytest.param(True, SECOND, "done", Outcome.HIT, id="the answer repeats no value"),
        pytest.param(False, SECOND, f"in {FIRST}", Outcome.HIT, id="the provider keeps nothing"),
    ],
)
def test_an_answer_that_the_provider_keeps_is_not_changed_for_another_normalised_value(
    tmp_path: Path, store: bool, present: str, said: str, outcome: Outcome
) -> None:
    async def life(house: House) -> None:
        def asks(folder: str) -> Exchange:
            return house.begins("/responses", {"model": "m", "input": f"use {folder}", "store": store}, {})

        item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": said}]}
        body = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [item]}
        answer = Response(200, {"content-type": "application/json"}, json.dumps(body).encode(), 1.0)
        await results(house, asks(FIRST), answer)
        result = await results(house, asks(present), answer)
        assert result.outcome is outcome
        assert outcome is Outcome.HIT or "the provider keeps the answer" in reason(result)

    run(tmp_path, life, CACHE_NORMALIZE="tmp-paths")


# -- credentials


def test_a_conversation_with_a_credential_hits_and_each_caller_gets_its_own(tmp_path: Path) -> None:
    one, other = token("a1B2"), token("c3D4")

    async def life(house: House) -> None:
        for shape in (False, True):
            answer = streaming("use ghp_", one[4:]) if shape else saying(f"use {one}")
            result = await results(house, house.asks(text=f"it is {one}", stream=shape, seed=int(shape)), answer)
            assert result.outcome is Outcome.MISS
            for secret in (one, other):
                found = await house.asks(text=f"it is {secret}", stream=shape, seed=int(shape)).resolve()
                assert content(served(found)) == f"use {secret}"

    run(tmp_path, life)


def test_followers_get_their_own_credentials(tmp_path: Path) -> None:
    one, other = token("a1B2"), token("c3D4")

    async def life(house: House) -> None:
        leader, follower = house.asks(text=f"it is {one}"), house.asks(text=f"it is {other}")
        assert isinstance(await leader.resolve(), Forward)
        task = asyncio.create_task(follower.resolve())
        while follower.state is not State.FOLLOWING:
            await asyncio.sleep(0)
        leader.settle(await leader.on_response(saying(f"use {one}")), house.now)
        assert content(served(await task)) == f"use {other}"

    run(tmp_path, life)


def test_an_error_is_not_shared_with_a_follower_that_has_another_credential(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        leader, follower = house.asks(text=token("a1B2")), house.asks(text=token("c3D4"))
        assert isinstance(await leader.resolve(), Forward)
        task = asyncio.create_task(follower.resolve())
        while follower.state is not State.FOLLOWING:
            await asyncio.sleep(0)
        leader.settle(await leader.on_response(failure(429)), house.now)
        assert isinstance(await task, Forward)

    run(tmp_path, life)


def test_an_answer_that_holds_a_credential_in_another_form_is_not_stored(tmp_path: Path) -> None:
    secret = token("a1B2")
    encoded = base64.b64encode(secret.encode()).decode()

    async def life(house: House) -> None:
        result = await results(house, house.asks(text=f"encode {secret}"), saying(encoded))
        assert isinstance(result.storing, Skipped)
        assert result.storing.reason is Skip.CREDENTIAL
        assert secret not in reason(result)
        assert encoded not in reason(result)
        assert house.store.size().entries == 0

    run(tmp_path, life)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_a_password_in_json_inside_json_is_not_stored_and_its_conversation_hits(tmp_path: Path, levels: int) -> None:
    def asks(house: House, password: str) -> Exchange:
        result = json.dumps({"username": "admin", "password": password})
        for name in ("SecretString", "output", "result", "content")[:levels]:
            result = json.dumps({name: result})
        return house.asks(text=result)

    one, other = VALUES["env password"], VALUES["password in YAML"]

    async def life(house: House) -> None:
        await results(house, asks(house, one), saying(f"It is {one}."))
        answer = await asks(house, other).resolve()
        assert content(served(answer)) == f"It is {other}."
        kept = repr([(entry, house.store.request(entry.key)) for entry in house.store.entries()])
        assert "<secret 1" in kept
        assert one not in kept

    run(tmp_path, life)


@pytest.mark.parametrize("kind", TEXTS)
def test_no_credential_is_left_in_store_and_log_and_its_conversation_hits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    async def life(house: House) -> None:
        answer = saying(f"The value is {VALUES[kind]} and that is all.")
        assert (
            await results(house, house.asks(ON, text=f"It is {FIRST}: {TEXTS[kind]}"), answer)
        ).outcome is Outcome.MISS
        for text in (f"It is {FIRST}: {TEXTS[kind]}", f"It is {SECOND}: {TEXTS[kind]}"):
            result = await results(house, house.asks(ON, text=text))
            assert result.outcome is Outcome.HIT
        await results(house, house.asks(ON, text=f"It is like {FIRST}: {TEXTS[kind]}"), answer)
        kept = repr([(entry, house.store.request(entry.key)) for entry in house.store.entries()])
        assert "<secret 1" in kept
        assert VALUES[kind] not in kept

    with caplog.at_level(logging.DEBUG):
        run(tmp_path, life)
    stored = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    assert VALUES[kind].encode() not in stored
    assert VALUES[kind] not in caplog.text


# -- samples in order

ORDERED = {"CACHE_SAMPLES": "ordered"}


async def asked(house: House, *answers: str, text: str = "Name a fruit.", **headers: str) -> list[str]:
    """The answers to one question, asked once for each of these, which the upstream gives if it is asked."""
    told = []
    for answer in answers:
        exchange = house.asks(headers, text=text)
        found = await exchange.resolve()
        if isinstance(found, Forward):
            exchange.settle(await exchange.on_response(saying(answer)), house.now)
            told.append(answer)
        else:
            exchange.settle(found, house.now)
            told.append(content(served(found)))
        house.now += 1
    return told


def again(house: House) -> None:
    """Begin another run."""
    house.cache.samples.forget()


def test_the_nth_time_a_request_is_asked_it_gets_the_nth_answer(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        assert await asked(house, "one", "two", "three") == ["one", "two", "three"]
        again(house)
        assert await asked(house, "x", "x", "x", "four") == ["one", "two", "three", "four"]

    run(tmp_path, life, **ORDERED)


def test_runs_are_counted_apart(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        assert await asked(house, "one", "two", **{"x-cache-run": "a"}) == ["one", "two"]
        assert await asked(house, "x", "x", **{"x-cache-run": "b"}) == ["one", "two"]

    run(tmp_path, life, **ORDERED)


def test_a_named_sample_wins_and_does_not_count(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        assert await asked(house, "one", "two") == ["one", "two"]
        assert await asked(house, "x", "x", **{"x-cache-sample": "2"}) == ["two", "two"]
        assert await asked(house, "three") == ["three"]

    run(tmp_path, life, **ORDERED)


@pytest.mark.parametrize("status", [429, 500])
def test_a_failed_call_is_not_counted_as_a_sample(tmp_path: Path, status: int) -> None:
    async def life(house: House) -> None:
        await results(house, house.asks(text="Name a fruit."), failure(status))
        assert await asked(house, "one", "two") == ["one", "two"]
        again(house)
        assert await asked(house, "x", "x") == ["one", "two"]

    run(tmp_path, life, **ORDERED)


def test_a_retry_asks_for_the_same_sample(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        assert await asked(house, "one") == ["one"]
        assert await asked(house, "x", **{"x-stainless-retry-count": "1"}) == ["one"]
        assert await asked(house, "two", **{"x-stainless-retry-count": "0"}) == ["two"]

    run(tmp_path, life, **ORDERED)


def test_the_retry_of_a_call_that_failed_asks_for_its_sample(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        assert await asked(house, "one") == ["one"]
        await results(house, house.asks(text="Name a fruit."), failure(500))
        assert await asked(house, "two", **{"x-stainless-retry-count": "1"}) == ["two"]

    run(tmp_path, life, **ORDERED)


def test_samples_of_a_request_whose_clock_moves_come_in_their_order(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        for second, fruit in enumerate(("one", "two", "three")):
            text = f"It is 2026-11-24T07:54:0{second}Z. Name a fruit."
            assert await asked(house, fruit, text=text) == [fruit]
        again(house)
        for second, fruit in enumerate(("one", "two", "three")):
            text = f"It is 2026-11-25T09:00:0{second}Z. Name a fruit."
            assert await asked(house, "x", text=text) == [fruit]

    run(tmp_path, life, CACHE_REBIND="on", **ORDERED)


def test_embeddings_have_no_samples(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        body = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}], "model": "e"}
        answer = Response(200, {"content-type": "application/json"}, json.dumps(body).encode(), 1.0)
        outcomes = [(await results(house, house.embeds("a"), answer)).outcome for _ in range(2)]
        assert outcomes == [Outcome.MISS, Outcome.HIT]

    run(tmp_path, life, **ORDERED)


def test_a_request_that_holds_the_mark_of_a_credential_is_a_bypass(tmp_path: Path) -> None:
    async def life(house: House) -> None:
        result = await results(house, house.asks(text=f"{token('a1B2')} <secret 1>"))
        assert (result.outcome, result.bypass and result.bypass.reason) == (Outcome.BYPASS, Reason.CREDENTIAL)

    run(tmp_path, life)


# -- limits

DOES_NOT_FIT = "not rebound: the answer may not fit within another limit"


@pytest.mark.parametrize(
    ("recorded", "present", "tokens", "refused"),
    [
        (250_037, 249_981, 20, None),
        (250_037, 1_019, 1_020, DOES_NOT_FIT),
        (250_037, 1_037, 1_036, None),
        (250_037, 1_037, 1_037, DOES_NOT_FIT),
        (4_000, 8_000, 20, ""),
        (4_096, 8_192, 20, ""),
        (4_096, 4_001, 20, ""),
        (19, 27, 5, ""),
    ],
    ids=[
        "computed",
        "too small",
        "it just fits",
        "it just does not",
        "round",
        "powers of two",
        "one is round",
        "small",
    ],
)
@pytest.mark.parametrize("api", ["chat", "gemini"])
def test_an_answer_that_fits_within_a_computed_limit_is_served(
    tmp_path: Path, recorded: int, present: int, tokens: int, api: str, refused: str | None
) -> None:
    def asks(house: House, limit: int) -> Exchange:
        if api == "chat":
            return house.asks(ON, max_tokens=limit)
        contents = [{"role": "user", "parts": [{"text": "hello"}]}]
        body = {"contents": contents, "generationConfig": {"maxOutputTokens": limit}}
        return house.begins("/models/gemini-2.5-pro:generateContent", body, ON)

    async def life(house: House) -> None:
        whole: dict[str, Any] = completion("hi")
        whole["usage"] |= {"completion_tokens": tokens}
        if api == "gemini":
            content = {"role": "model", "parts": [{"text": "hi"}]}
            usage = {"promptTokenCount": 1, "candidatesTokenCount": tokens, "totalTokenCount": 1 + tokens}
            whole = {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": usage}
        answer = Response(200, {"content-type": "application/json"}, json.dumps(whole).encode(), 1.0)
        await results(house, asks(house, recorded), answer)
        result = await results(house, asks(house, present), answer)
        assert (result.outcome is Outcome.HIT) is (refused is None)
        assert refused is None or refused in reason(result)

    run(tmp_path, life)
