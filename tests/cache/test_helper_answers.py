"""Answers of helper routes: kept for offline runs, apart for callers that share nothing, never with a credential."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from computer_use_cache.cache import helper_answers
from computer_use_cache.cache.cache import Cache
from computer_use_cache.formats.base import dump
from computer_use_cache.models import Entry, Request, Response
from computer_use_cache.settings import Settings
from computer_use_cache.store.opening import open_store

NOW = 1_700_000_000.0
MODELS = b'{"object":"list","data":[{"id":"m","max_tokens":99}]}'
JSON = {"content-type": "application/json"}
OWN = "own-" + secrets.token_hex(16)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    yield from opened(tmp_path)


def opened(folder: Path, **given: str) -> Iterator[Cache]:
    settings = Settings.load({"CACHE_DIR": str(folder)} | given)
    with closing(open_store(settings)) as store:
        yield Cache(settings, store, loopback=True)


def asked(path: str = "/models", *, body: bytes = b"", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("https://api.example/v1", path, (), {"authorization": f"Bearer {OWN}"} | named, body)


def recorded(cache: Cache, request: Request, body: bytes = MODELS, status: int = 200, **headers: str) -> Entry | None:
    named: Mapping[str, str] = {name.replace("_", "-"): value for name, value in headers.items()}
    return helper_answers.record(cache, "GET", request, Response(status, JSON | named, body, 0.1, ended=True), NOW)


def found(cache: Cache, request: Request, method: str = "GET", now: float = NOW) -> Entry | None:
    return helper_answers.find(cache, method, request, helper_answers.controls_of(cache, request), now)


def test_an_answer_is_found_by_the_same_question_until_it_expires(cache: Cache) -> None:
    recorded(cache, asked(), set_cookie="session=1")
    entry = found(cache, asked())
    assert entry
    assert (entry.body, dict(entry.headers)) == (MODELS, JSON)
    assert found(cache, asked(), now=NOW + cache.settings.ttl_seconds) is None
    others = (asked("/models/m"), asked(body=b'{"a":1}'), asked(x_cache_namespace="n"), asked(anthropic_version="1"))
    assert [found(cache, other) for other in others] == [None] * 4
    assert found(cache, asked(), "HEAD") is None


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(dump({"label": OWN}), id="the caller's"),
        pytest.param(dump({"data": [{"accessToken": "opaque-value"}]}), id="by its name"),
        pytest.param(dump({"note": "gh" + "p_" + secrets.token_hex(18)}), id="by its form"),
    ],
)
def test_an_answer_with_a_credential_is_not_recorded(cache: Cache, answer: bytes) -> None:
    assert recorded(cache, asked(), answer) is None
    assert list(cache.store.entries()) == []


@pytest.mark.parametrize(
    ("request_", "status", "kind"),
    [
        (asked(), 404, "application/json"),
        (asked(), 200, "text/html"),
        (asked(), 200, "text/event-stream"),
        (asked(x_cache_bypass="1"), 200, "application/json"),
        (asked(cache_control="no-store"), 200, "application/json"),
        (asked(x_cache_mode="readonly"), 200, "application/json"),
    ],
)
def test_what_may_not_be_stored_is_not_recorded(cache: Cache, request_: Request, status: int, kind: str) -> None:
    assert recorded(cache, request_, status=status, content_type=kind) is None


@pytest.mark.parametrize(
    ("kind", "body", "ended", "is_kept"),
    [
        ("application/json", b'["m"]', False, True),
        ("application/json", b'{"data":[{"id":"m"},{"i', True, False),
        ("application/json", b'{"error":{"message":"overloaded"}}', True, False),
        ("application/json", b"", False, False),
        ("text/plain", b"ok", True, True),
        ("text/plain", b"ok", False, False),
        ("", b"", True, True),
        ("", b"ok", True, False),
    ],
)
def test_only_a_whole_answer_is_recorded(cache: Cache, kind: str, body: bytes, ended: bool, is_kept: bool) -> None:
    response = Response(200, {"content-type": kind}, body, 0.1, ended=ended)
    assert (helper_answers.record(cache, "GET", asked(), response, NOW) is not None) is is_kept


@pytest.mark.parametrize(("scope", "is_shared"), [("shared", True), ("credential", False)])
def test_callers_share_answers_as_the_scope_says(tmp_path: Path, scope: str, is_shared: bool) -> None:
    for cache in opened(tmp_path, CACHE_SCOPE=scope):
        recorded(cache, asked())
        assert (found(cache, asked(authorization="Bearer another")) is not None) is is_shared
        assert found(cache, asked())
