"""Request, key, store and answer together: what is kept is found again, in the shape asked for, while it may be."""

from __future__ import annotations

import base64
import json
import struct
import uuid
from collections.abc import Iterator, Mapping, Sequence, Set
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.lookup import OFFLINE_MISS
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.replay import replay as replayed
from computer_use_cache.cache.replay import replays_quickly
from computer_use_cache.diagnosis.request_record import record
from computer_use_cache.errors import RequestError
from computer_use_cache.keys import key
from computer_use_cache.models import (
    Absent,
    Bypass,
    Entry,
    Fwd,
    Reason,
    Request,
    Response,
    Shape,
    Skip,
    Skipped,
)
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import NewEntry
from computer_use_cache.store.disk import DiskStore
from credential_samples import token
from pictures import coded

NOW = 2_000_000_000.0
JSON, SSE = "application/json", "text/event-stream"
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
HEAD = {"id": "c", "created": 1, "model": "m"}
ANSWER = json.dumps(
    HEAD
    | {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "pong"}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
).encode()


def chunk(**members: Any) -> bytes:
    return b"data: " + json.dumps(HEAD | {"object": "chat.completion.chunk"} | members).encode() + b"\n\n"


TEXT = chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": "pong"}, "finish_reason": None}])
END = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
DONE = b"data: [DONE]\n\n"
STREAM = TEXT + END + DONE
STREAM_WITH_USAGE = TEXT + END + chunk(choices=[], usage=USAGE) + DONE


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    store = DiskStore(tmp_path / "store", 2**24)
    yield store
    store.close()


def cache(store: DiskStore, **environment: str) -> Cache:
    return Cache(Settings.load(environment), store, loopback=True)


def chat(headers: Mapping[str, str] | None = None, **members: Any) -> Request:
    body = {"model": "m", "messages": [{"role": "user", "content": "ping"}]} | members
    return Request("https://api.example/v1", "/chat/completions", (), headers or {}, json.dumps(body).encode())


def answer(body: bytes = ANSWER, kind: str = JSON, **headers: str) -> Response:
    return Response(200, {"content-type": kind, **headers}, body, 1.5, ((3, 10),) if kind == SSE else ())


def kept(cache: Cache, plan: Plan, response: Response, now: float = NOW) -> Entry:
    """Store an answer that must be accepted; returns its entry."""
    entry = cache.judge(plan, response, now)
    assert isinstance(entry, Entry), entry
    cache.keep(entry, now)
    return entry


def test_what_was_kept_is_found_by_an_equal_request(store: DiskStore) -> None:
    entry = kept(cache(store), cache(store).plan(chat()), answer())
    assert cache(store).lookup(cache(store).plan(chat(user="ann")), NOW) == entry
    assert cache(store).lookup(cache(store).plan(chat(seed=1)), NOW) == Absent(Fwd.URI_MISS)


def shown(file: bytes, **members: Any) -> Request:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{coded(file)}"}}
    return chat(messages=[{"role": "user", "content": [picture]}], **members)


def png(*texts: str) -> bytes:
    """A PNG file with these texts in it and no pixels."""
    pieces = ["IHDR" + "\0" * 13, *(f"tEXtdate\0{text}" for text in texts), "IDATpixels", "IEND"]
    chunks = (struct.pack(">I", len(piece) - 4) + piece.encode() + b"\0" * 4 for piece in pieces)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_picture_written_at_another_time_is_the_same_question(store: DiskStore) -> None:
    core = cache(store)
    at_nine, plain = core.plan(shown(png("9:41"))), core.plan(shown(png()))
    assert at_nine.key == core.plan(shown(png("9:58:32", "more"))).key == plain.key
    assert at_nine.key != core.plan(shown(png("9:41"), seed=1)).key
    assert b"9:41" in base64.b64decode(
        json.loads(at_nine.forward)["messages"][0]["content"][0]["image_url"]["url"][22:]
    )


def test_a_picture_without_metadata_keeps_the_key_it_had(store: DiskStore) -> None:
    plan = cache(store).plan(shown(png()))
    exact = key.finish(plan.route.key_beginning, plan.format.key_body(plan.body))
    assert plan.key == exact


@pytest.mark.parametrize("rules", ["", "tool-call-ids"])
@pytest.mark.parametrize("stored_with", ["", "tool-call-ids"])
def test_what_was_stored_under_an_earlier_key_is_found(store: DiskStore, stored_with: str, rules: str) -> None:
    """An earlier version, which did not know metadata, stored it with the same normalisers or none."""
    request = shown(png("9:41"))
    core = cache(store, CACHE_NORMALIZE=rules)
    plan = core.plan(request)
    body = plan.format.key_body(plan.body)
    for normalizer in Settings.load({"CACHE_NORMALIZE": stored_with}).normalize:
        body = normalizer.apply(plan.format, body)
    entry = kept(core, replace(plan, key=key.finish(plan.route.key_beginning, body)), answer())
    assert core.lookup(plan, NOW) == entry
    assert core.lookup(core.plan(shown(png("9:42"))), NOW) == Absent(Fwd.URI_MISS)


def test_what_was_stored_before_a_normaliser_was_set_is_found(store: DiskStore) -> None:
    request = chat(messages=[{"role": "user", "content": f"ping {uuid.uuid4()}"}])
    entry = kept(cache(store), cache(store).plan(request), answer())
    core = cache(store, CACHE_NORMALIZE="uuids")
    assert core.plan(request).key != entry.key
    assert core.lookup(core.plan(request), NOW) == entry


def test_an_earlier_key_keeps_the_holders_of_other_credentials_apart(store: DiskStore) -> None:
    plain, core = (cache(store, CACHE_SCOPE="credential", CACHE_NORMALIZE=rules) for rules in ("", "uuids"))
    one, other = (
        with_server(token, messages=[{"role": "user", "content": "ping 550e8400-e29b-41d4-a716-446655440000"}])
        for token in ("opaque-one", "opaque-two")
    )
    entry = kept(plain, plain.plan(one), answer())
    assert core.plan(one).key != entry.key
    assert core.lookup(core.plan(one), NOW) == entry
    assert core.lookup(core.plan(other), NOW) == Absent(Fwd.URI_MISS)


def test_a_plan_without_its_body_has_no_earlier_keys(store: DiskStore) -> None:
    core = cache(store, CACHE_NORMALIZE="uuids")
    plan = core.plan(chat())
    kept(core, replace(plan, key=key.finish(plan.route.key_beginning, {})), answer())
    assert core.lookup(plan.without_bodies(), NOW) == Absent(Fwd.URI_MISS)


def test_keeping_says_whether_an_entry_was_replaced(store: DiskStore) -> None:
    core = cache(store)
    entry = core.judge(core.plan(chat()), answer(), NOW)
    assert isinstance(entry, Entry)
    assert [core.keep(entry, NOW), core.keep(entry, NOW)] == [False, True]


@pytest.mark.parametrize(
    ("environment", "headers", "expires_at"),
    [
        ({}, {}, NOW + 2_592_000),
        ({"CACHE_TTL_SECONDS": "60"}, {}, NOW + 60),
        ({"CACHE_TTL_SECONDS": "0"}, {}, None),
        ({"CACHE_TTL_SECONDS": "60"}, {"x-cache-ttl": "5"}, NOW + 5),
        ({"CACHE_TTL_SECONDS": "0"}, {"x-cache-ttl": "5"}, NOW + 5),
        ({"CACHE_TTL_SECONDS": "60"}, {"x-cache-ttl": "0"}, None),
    ],
)
def test_an_entry_expires_as_the_request_or_else_the_setting_says(
    store: DiskStore, environment: dict[str, str], headers: dict[str, str], expires_at: float | None
) -> None:
    core = cache(store, **environment)
    assert kept(core, core.plan(chat(headers)), answer()).expires_at == expires_at


@pytest.mark.parametrize(
    ("age", "control", "absent"),
    [
        (59.9, "", None),
        (60, "", Absent(Fwd.STALE)),
        (10, "max-age=10", None),
        (10.1, "max-age=10", Absent(Fwd.REQUEST, "Cache-Control: max-age=10")),
        (60, "max-age=10", Absent(Fwd.STALE)),
        (0, "max-age=0", None),
        (1, "no-cache", Absent(Fwd.REQUEST, "Cache-Control: no-cache")),
        (1, "only-if-cached", None),
        (1, "no-store", None),
    ],
    ids=str,
)
def test_an_entry_is_served_while_it_is_fresh_enough_and_otherwise_the_reason_is_given(
    store: DiskStore, age: float, control: str, absent: Absent | None
) -> None:
    core = cache(store, CACHE_TTL_SECONDS="60")
    entry = kept(core, core.plan(chat()), answer())
    plan = core.plan(chat({"cache-control": control}))
    assert core.lookup(plan, NOW + age) == (absent or entry)


@pytest.mark.parametrize(
    ("environment", "headers", "said"),
    [
        ({"CACHE_MODE": "refresh"}, {}, "CACHE_MODE=refresh"),
        ({}, {"x-cache-mode": "Refresh"}, "X-Cache-Mode: refresh"),
        ({"CACHE_MODE": "refresh"}, {"cache-control": "no-cache"}, "Cache-Control: no-cache"),
    ],
    ids=str,
)
def test_a_forbidden_lookup_names_what_forbids_it(
    store: DiskStore, environment: dict[str, str], headers: dict[str, str], said: str
) -> None:
    kept(cache(store), cache(store).plan(chat()), answer())
    core = cache(store, **environment)
    assert core.lookup(core.plan(chat(headers)), NOW) == Absent(Fwd.REQUEST, said)


@pytest.mark.parametrize(
    ("setting", "age", "headers", "is_found"),
    [
        ("30", 59.9, {}, True),
        ("30", 60, {}, True),
        ("30", 89.9, {}, True),
        ("30", 90, {}, False),
        ("0", 60, {}, False),
        ("0", 60, {"cache-control": "stale-if-error=30"}, False),
        ("30", 69.9, {"cache-control": "stale-if-error=10"}, True),
        ("30", 70, {"cache-control": "stale-if-error=10"}, False),
        ("30", 90, {"cache-control": "stale-if-error=1000"}, False),
        ("30", 70, {"cache-control": "stale-if-error=soon"}, True),
        ("30", 60, {"cache-control": "stale-if-error=0"}, False),
        ("30", 60, {"cache-control": "no-cache"}, False),
        ("30", 60, {"cache-control": "no-store"}, False),
        ("30", 60, {"cache-control": "max-age=600"}, False),
        ("30", 60, {"x-cache-mode": "refresh"}, False),
        ("30", 60, {"x-cache-mode": "readonly"}, True),
        ("30", 60, {"x-cache-bypass": "1"}, False),
        ("30", 60, {"x-cache-namespace": "n"}, False),
    ],
    ids=str,
)
def test_when_the_upstream_fails_an_entry_past_its_ttl_is_found_for_as_long_as_is_set(
    store: DiskStore, setting: str, age: float, headers: dict[str, str], is_found: bool
) -> None:
    core = cache(store, CACHE_TTL_SECONDS="60", CACHE_STALE_IF_ERROR_SECONDS=setting)
    kept(core, core.plan(chat()), answer())
    assert (core.lookup_stale(core.plan(chat(headers)), NOW + age) is not None) is is_found


@pytest.mark.parametrize(("setting", "is_kept"), [("0", False), ("9", False), ("11", True)])
def test_an_entry_is_kept_past_its_ttl_for_as_long_as_is_set(store: DiskStore, setting: str, is_kept: bool) -> None:
    core = cache(store, CACHE_TTL_SECONDS="60", CACHE_STALE_IF_ERROR_SECONDS=setting)
    entry = core.judge(core.plan(chat()), answer(), NOW)
    assert isinstance(entry, Entry)
    core.keep(entry, NOW + 70)
    assert (store.get(entry.key) is not None) is is_kept


class MisfiledStore(DiskStore):
    """A store that gives its last entry for every key."""

    filed = ""

    def put_all(self, batch: Sequence[NewEntry]) -> Set[str]:
        self.filed = batch[-1].entry.key
        return super().put_all(batch)

    def get(self, key: str) -> Entry | None:
        return super().get(self.filed)


def test_an_entry_filed_under_another_key_is_a_miss(tmp_path: Path) -> None:
    store = MisfiledStore(tmp_path / "store", 2**24)
    core = cache(store)
    kept(core, core.plan(chat()), answer())
    assert isinstance(core.lookup(core.plan(chat()), NOW), Entry)
    assert core.lookup(core.plan(chat(seed=1)), NOW) == Absent(Fwd.URI_MISS)
    store.close()


@pytest.mark.parametrize("mode", ["readonly", "offline"])
def test_a_mode_that_writes_nothing_keeps_no_answer(store: DiskStore, mode: str) -> None:
    core = cache(store, CACHE_MODE=mode)
    assert isinstance(core.judge(core.plan(chat()), answer(), NOW), Skipped)


def test_only_headers_that_clients_read_are_kept(store: DiskStore) -> None:
    core = cache(store)
    private = {"set-cookie": "a=b", "openai-organization": "acme", "date": "today", "x-ratelimit-limit": "9"}
    entry = kept(core, core.plan(chat()), answer(ANSWER, **private, **{"x-request-id": "r", "openai-version": "v"}))
    assert dict(entry.headers) == {"content-type": JSON, "x-request-id": "r", "openai-version": "v"}


def test_text_that_is_not_valid_unicode_can_be_kept(store: DiskStore) -> None:
    core = cache(store)
    plan = core.plan(chat(model="\ud800"))
    entry = kept(core, plan, answer(ANSWER, **{"x-request-id": "\udcff"}))
    assert core.lookup(plan, NOW) == entry


BYPASSES = [
    pytest.param(chat({"x-cache-bypass": "1"}), {}, Reason.HEADER, id="header"),
    pytest.param(chat(cache=False), {}, Reason.DISABLED_BY_REQUEST, id="body"),
    pytest.param(chat(), {"CACHE_ENABLED": "0"}, Reason.DISABLED, id="setting"),
    pytest.param(chat(), {"CACHE_MODE": "off"}, Reason.MODE, id="mode"),
    pytest.param(chat(), {"CACHE_MODEL_DENYLIST": "m"}, Reason.MODEL, id="model"),
    pytest.param(chat(), {"CACHE_MAX_INPUT_CHARS": "20"}, Reason.TOO_LARGE, id="size"),
    pytest.param(replace(chat(conversation="c", input="x"), path="/responses"), {}, Reason.STATE, id="conversation"),
    pytest.param(replace(chat(background=True, input="x"), path="/responses"), {}, Reason.STATE, id="background"),
    pytest.param(replace(chat(container="c"), path="/messages"), {}, Reason.STATE, id="container"),
    pytest.param(replace(chat(), body=b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), {}, Reason.FORM, id="depth"),
    pytest.param(
        replace(chat(), body=b'{"model": "m", "messages": [1e99999999999999999999]}'), {}, Reason.FORM, id="number"
    ),
]


@pytest.mark.parametrize(("request_", "environment", "reason"), BYPASSES)
def test_a_bypassed_request_is_neither_looked_up_nor_kept(
    store: DiskStore, request_: Request, environment: dict[str, str], reason: Reason
) -> None:
    core = cache(store, **environment)
    plan = core.plan(request_)
    assert isinstance(plan.verdict, Bypass)
    assert plan.verdict.reason is reason
    assert core.lookup(plan, NOW) == Absent(Fwd.BYPASS)
    assert isinstance(core.judge(plan, answer(), NOW), Skipped)


@pytest.mark.parametrize(("request_", "environment", "reason"), [case for case in BYPASSES if case.id != "mode"])
def test_offline_nothing_goes_upstream_whatever_the_request_is(
    store: DiskStore, request_: Request, environment: dict[str, str], reason: Reason
) -> None:
    core = cache(store, **environment | {"CACHE_MODE": "offline"})
    assert not goes_upstream(core, request_)


def goes_upstream(core: Cache, request: Request) -> bool:
    """Whether a request may be forwarded."""
    try:
        verdict = core.plan(request).verdict
    except RequestError as error:
        return error.code != OFFLINE_MISS
    return isinstance(verdict, Bypass) or verdict.upstream


@pytest.mark.parametrize("header", [{"x-cache-mode": "offline"}, {"cache-control": "only-if-cached"}], ids=str)
@pytest.mark.parametrize(
    ("request_", "environment", "reason"),
    [case for case in BYPASSES if case.id in ("model", "size", "conversation", "background", "container", "depth")],
)
def test_a_request_that_forbids_the_upstream_never_goes_there(
    store: DiskStore, request_: Request, environment: dict[str, str], reason: Reason, header: dict[str, str]
) -> None:
    assert not goes_upstream(cache(store, **environment), replace(request_, headers=header))


def test_a_request_without_controls_is_forwarded_unchanged(store: DiskStore) -> None:
    request = chat(cache_control={"type": "ephemeral"}, stream=True, temperature=0.10)
    assert cache(store).plan(request).forward is request.body


@pytest.mark.parametrize(
    "value",
    [
        "0.7",
        "1e400",
        "18446744073709551616",
        "-9223372036854775809.5",
        "0.1000000000000000001",
        '"\\ud800"',
        '["\\ud800", 0.5]',
        '"\u00e9"',
        "[" * 300 + "]" * 300,
        "null",
    ],
    ids=lambda value: value[:24],
)
def test_removing_our_controls_changes_nothing_else_in_the_forwarded_body(store: DiskStore, value: str) -> None:
    rest = f'"model": "m", "messages": [1], "x": {value}'
    sent = f'{{"cache": true, {rest}, "metadata": {{"cache": true}}}}'.encode()
    forwarded = cache(store).plan(replace(chat(), body=sent)).forward
    assert exact(forwarded) == exact(f'{{{rest}, "metadata": {{}}}}'.encode())


def exact(body: bytes) -> object:
    return json.loads(body.decode(), parse_float=Fraction, parse_int=Fraction)


@pytest.mark.parametrize("depth", [100, 300, 600, 3000])
@pytest.mark.parametrize("path", ["/chat/completions", "/messages", "/responses", "/completions", "/embeddings"])
@pytest.mark.parametrize(
    "member",
    ['"cache": @', '"metadata": @', '"x": [0.5, @]', '"system": @, "tools": @'],
    ids=["cache", "metadata", "unknown", "blocks"],
)
def test_deep_nesting_is_planned_or_bypassed(store: DiskStore, path: str, member: str, depth: int) -> None:
    block = '[{"type":"tool_result","content":'
    deep = block * depth + "1" + "}]" * depth
    required = f'"model": "m", "messages": [{{"role": "user", "content": {deep}}}], "input": "x", "prompt": "x"'
    body = "{" + required + ", " + member.replace("@", deep) + "}"
    plan = cache(store).plan(replace(chat(), path=path, body=body.encode()))
    assert plan.key or isinstance(plan.verdict, Bypass)


def asking(text: str) -> Request:
    return chat(messages=[{"role": "user", "content": text}])


def test_a_credential_in_a_text_is_concealed_in_key_and_record_and_forwarded(store: DiskStore) -> None:
    core = cache(store)
    one, other = (core.conceal(core.plan(asking(f"use {token(four)}"))) for four in ("a1B2", "c3D4"))
    assert (one.key, one.body) == (other.key, other.body)
    assert (one.secrets, other.secrets) == ((token("a1B2"),), (token("c3D4"),))
    assert token("a1B2").encode() in one.forward
    assert json.loads(record(core, one).body)["messages"] == [{"role": "user", "content": "use <secret 1>"}]
    assert token("a1B2") not in repr(record(core, one))


def test_a_credential_of_another_kind_makes_another_request(store: DiskStore) -> None:
    core, google = cache(store), "".join(("ya29", ".a0", "Bq7Zk3vQ9xLw2Rt8Yp5Nc" * 5))
    one, other = (core.conceal(core.plan(asking(f"use {secret}"))) for secret in (token("a1B2"), google))
    assert one.body == other.body
    assert one.key != other.key


def test_a_request_without_a_credential_is_planned_as_before(store: DiskStore) -> None:
    core = cache(store)
    plan = core.plan(chat())
    assert core.conceal(plan) is plan


def test_a_record_with_a_number_that_python_writes_differently_holds_no_credential(store: DiskStore) -> None:
    core = cache(store)
    plan = core.conceal(
        core.plan(replace(chat(), body=asking(token("a1B2")).body[:-1] + b', "seed": 1%s}' % (b"0" * 30)))
    )
    assert token("a1B2").encode() not in record(core, plan).body
    assert b"<secret 1>" in record(core, plan).body


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        pytest.param(asking(f"{token('a1B2')} is not <secret 1>"), "stands for a secret here", id="holds the mark"),
        pytest.param(
            replace(chat(), path="/embeddings", body=json.dumps({"model": "e", "input": token("a1B2")}).encode()),
            "the answer is not text",
            id="embedding",
        ),
    ],
)
def test_a_credential_that_cannot_be_replaced_is_a_bypass(store: DiskStore, request_: Request, why: str) -> None:
    core = cache(store)
    verdict = core.conceal(core.plan(request_)).verdict
    assert isinstance(verdict, Bypass)
    assert verdict.reason is Reason.CREDENTIAL
    assert why in str(verdict)
    assert token("a1B2") not in str(verdict)


def with_server(token: str, **members: Any) -> Request:
    """A request with a tool that has a credential. Not a remote MCP server: such a request is bypassed."""
    search = {"type": "search", "url": "https://m.example/sse", "headers": {"Authorization": f"Bearer {token}"}}
    return chat(tools=[search], **members)


def test_a_tools_credential_is_forwarded_and_neither_recorded_nor_a_reason_to_bypass(store: DiskStore) -> None:
    core = cache(store)
    plan = core.plan(with_server("opaque-one", temperature=0.25))
    assert core.conceal(plan) is plan
    assert b"opaque-one" in plan.forward
    assert json.loads(record(core, plan).body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "ping"}],
        "tools": [{"type": "search", "url": "https://m.example/sse"}],
        "temperature": 0.25,
    }
    assert "opaque-one" not in repr(record(core, plan))


@pytest.mark.parametrize(("scope", "equal"), [("shared", True), ("auto", True), ("credential", False)])
def test_a_tools_credential_counts_in_the_key_as_the_callers_does(store: DiskStore, scope: str, equal: bool) -> None:
    core = cache(store, CACHE_SCOPE=scope)
    keys = {core.plan(with_server(token)).key for token in ("opaque-one", "opaque-two")}
    assert (len(keys) == 1) is equal


def test_the_record_of_a_request_with_a_tools_credential_has_its_key_in_the_shared_scope(store: DiskStore) -> None:
    core = cache(store)
    plan = core.plan(with_server("opaque-one"))
    assert core.plan(replace(chat(), body=record(core, plan).body)).key == plan.key


def test_a_tools_credential_in_a_text_too_is_concealed_there(store: DiskStore) -> None:
    core = cache(store)
    plan = core.conceal(
        core.plan(with_server("opaque-one", messages=[{"role": "user", "content": "what is opaque-one?"}]))
    )
    assert plan.secrets == ("opaque-one",)
    assert "opaque-one" not in repr(record(core, plan))


def test_an_answer_that_repeats_a_tools_credential_is_not_kept(store: DiskStore) -> None:
    core = cache(store)
    plan = core.plan(with_server("opaque-one"))
    assert isinstance(core.judge(plan, answer(), NOW), Entry)
    skipped = core.judge(plan, answer(ANSWER.replace(b"pong", b"opaque-one")), NOW)
    assert isinstance(skipped, Skipped)
    assert "opaque-one" not in str(skipped)


def as_stream(*pieces: str) -> Response:
    chunks = [chunk(choices=[{"index": 0, "delta": {"content": piece}, "finish_reason": None}]) for piece in pieces]
    end = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    return answer(b"".join([*chunks, end, b"data: [DONE]\n\n"]), "text/event-stream")


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        pytest.param(False, answer(ANSWER.replace(b"pong", token("a1B2").encode())), id="in a text"),
        pytest.param(True, as_stream("here: ", token("a1B2")[:9], token("a1B2")[9:]), id="over two events"),
    ],
)
def test_an_answer_with_a_credential_that_the_request_lacks_is_not_kept(
    store: DiskStore, stream: bool, said: Response
) -> None:
    core = cache(store)
    skipped = core.judge(core.plan(chat(stream=stream)), said, NOW)
    assert isinstance(skipped, Skipped)
    assert skipped.reason is Skip.CREDENTIAL
    assert token("a1B2") not in str(skipped)
    assert isinstance(core.judge(core.plan(chat(stream=True)), as_stream("pass", "word: <secret>"), NOW), Entry)


PLAIN = chat()
STREAMED = chat(stream=True)
STREAMED_WITH_USAGE = chat(stream=True, stream_options={"include_usage": True})


def test_a_recorded_answer_is_replayed_byte_for_byte(store: DiskStore) -> None:
    core = cache(store)
    for request, response in ((PLAIN, answer()), (STREAMED, answer(STREAM, SSE))):
        plan = core.plan(request)
        assert replayed(plan, kept(core, plan, response)) == [response.body]


def test_a_recorded_answer_is_streamed_to_clients_that_ask_for_a_stream(store: DiskStore) -> None:
    core = cache(store)
    pieces = replayed(core.plan(STREAMED_WITH_USAGE), kept(core, core.plan(PLAIN), answer()))
    assert pieces is not None
    assert len(pieces) > 1
    streamed = kept(core, core.plan(STREAMED_WITH_USAGE), answer(b"".join(pieces), SSE))
    whole = replayed(core.plan(PLAIN), streamed)
    assert whole is not None
    assert json.loads(b"".join(whole)) == json.loads(ANSWER)


def test_a_recorded_stream_is_assembled_for_clients_that_ask_for_json(store: DiskStore) -> None:
    core = cache(store)
    pieces = replayed(core.plan(PLAIN), kept(core, core.plan(STREAMED_WITH_USAGE), answer(STREAM_WITH_USAGE, SSE)))
    assert pieces is not None
    assert json.loads(b"".join(pieces)) == json.loads(ANSWER)


def test_usage_is_left_out_of_a_stream_that_did_not_ask_for_it(store: DiskStore) -> None:
    core = cache(store)
    pieces = replayed(core.plan(STREAMED), kept(core, core.plan(STREAMED_WITH_USAGE), answer(STREAM_WITH_USAGE, SSE)))
    assert pieces is not None
    assert b"usage" not in b"".join(pieces)
    assert pieces[-1] == DONE


def test_a_recording_without_the_requested_usage_cannot_answer(store: DiskStore) -> None:
    core = cache(store)
    assert replayed(core.plan(STREAMED_WITH_USAGE), kept(core, core.plan(STREAMED), answer(STREAM, SSE))) is None


def test_an_entry_that_its_format_cannot_read_cannot_answer(store: DiskStore) -> None:
    core = cache(store)
    entry = replace(kept(core, core.plan(PLAIN), answer()), body=b"{")
    assert replayed(core.plan(STREAMED), entry) is None


@pytest.mark.parametrize(
    "request_",
    [
        replace(chat(), body=b"[]"),
        replace(chat(), body=b"{"),
        chat({"x-cache-sample": "0"}),
    ],
)
def test_a_bad_request_is_refused(store: DiskStore, request_: Request) -> None:
    with pytest.raises(RequestError) as caught:
        cache(store).plan(request_)
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [b'{"messages": [1]}', b'{"model": "m"}', b"{}", b'{"messages": [], "model": 1}'])
@pytest.mark.parametrize("path", ["/chat/completions", "/completions", "/responses", "/messages", "/embeddings"])
def test_what_the_provider_may_know_better_is_passed_on(store: DiskStore, path: str, body: bytes) -> None:
    plan = cache(store).plan(replace(chat(), path=path, body=body))
    assert (plan.forward, bool(plan.key)) == (body, True)


def test_a_gemini_stream_may_be_an_array(store: DiskStore) -> None:
    path = "/models/m:streamGenerateContent"
    request = Request("https://api.example/v1beta", path, (), {}, b'{"contents": []}')
    body = b'[{"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]}]'
    core = cache(store)
    entry = kept(core, core.plan(request), answer(body))
    assert entry.shape is Shape.ARRAY
    assert replayed(core.plan(replace(request, query=(("alt", "sse"),))), entry) == [
        b"data: " + compact(body) + b"\n\n"
    ]


def compact(array: bytes) -> bytes:
    return json.dumps(json.loads(array)[0], separators=(",", ":")).encode()


LONG = "x" * 50_000
LONG_ANSWER = ANSWER.replace(b"pong", LONG.encode())
LONG_STREAM = STREAM.replace(b"pong", LONG.encode())
FLOATS = json.dumps({"data": [{"index": 0, "embedding": [0.25] * 9000}]}).encode()


@pytest.mark.parametrize(
    ("path", "recorded", "kind", "asked", "is_quick"),
    [
        ("/chat/completions", STREAM, SSE, {}, True),
        ("/chat/completions", LONG_STREAM, SSE, {}, False),
        ("/chat/completions", LONG_STREAM, SSE, {"stream": True}, True),
        ("/chat/completions", LONG_STREAM, SSE, {"stream": True, "stream_options": {"include_usage": True}}, False),
        ("/chat/completions", LONG_ANSWER, JSON, {}, True),
        ("/chat/completions", LONG_ANSWER, JSON, {"stream_options": {"include_usage": True}}, True),
        ("/chat/completions", LONG_ANSWER, JSON, {"stream": True}, False),
        ("/embeddings", FLOATS, JSON, {}, True),
        ("/embeddings", FLOATS, JSON, {"encoding_format": "base64"}, False),
    ],
)
def test_a_replay_is_slow_when_much_must_be_converted(
    store: DiskStore, path: str, recorded: bytes, kind: str, asked: dict[str, Any], is_quick: bool
) -> None:
    def request(**members: Any) -> Request:
        body = json.loads(chat(**members).body) if path.startswith("/chat") else {"model": "m", "input": "a"} | members
        return replace(chat(), path=path, body=json.dumps(body).encode())

    core = cache(store)
    entry = kept(core, core.plan(request(**({"stream": True} if kind == SSE else {}))), answer(recorded, kind))
    assert replays_quickly(core.plan(request(**asked)), entry) is is_quick
