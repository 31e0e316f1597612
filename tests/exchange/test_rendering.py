"""What is shown about a request: headers, log lines and metadata, all made from its result."""

from __future__ import annotations

from typing import Any

import pytest

from computer_use_cache.diagnosis.differences import Difference
from computer_use_cache.diagnosis.near_miss import Near
from computer_use_cache.exchange import rendering
from computer_use_cache.exchange.result import Result, Storing
from computer_use_cache.models import Bypass, Fwd, Outcome, Reason, Skip, Skipped

KEY = "3f2a91c0" + "0" * 56
NEAR = Near("9b1c2d3e" + "0" * 56, (Difference("/messages/0/content", 8, "a", "b"),))
FORBIDDEN = Skipped("CACHE_MODE=readonly forbids storing", Skip.FORBIDDEN)


def result(outcome: Outcome = Outcome.MISS, **fields: Any) -> Result:
    return Result(outcome, "gpt-test", KEY, **fields)


@pytest.mark.parametrize(
    ("shown", "word", "status"),
    [
        (result(Outcome.HIT, age=3, ttl=60), "HIT", "hit; ttl=60"),
        (result(Outcome.HIT, age=3), "HIT", "hit"),
        (result(fwd=Fwd.URI_MISS, status=200, storing=Storing.STORED), "MISS", "fwd=uri-miss; fwd-status=200; stored"),
        (result(fwd=Fwd.STALE, status=200, storing=Storing.UPDATED), "MISS", "fwd=stale; fwd-status=200; stored"),
        (result(fwd=Fwd.REQUEST, status=200, storing=FORBIDDEN), "MISS", "fwd=request; fwd-status=200"),
        (result(fwd=Fwd.URI_MISS, status=200, storing=Storing.PENDING), "MISS", "fwd=uri-miss; fwd-status=200"),
        (result(fwd=Fwd.PARTIAL, storing=Storing.STORED), "MISS", "fwd=partial; stored"),
        (result(Outcome.COALESCED, fwd=Fwd.URI_MISS, collapsed=True), "MISS", "fwd=uri-miss; collapsed"),
        (
            result(Outcome.STALE, fwd=Fwd.STALE, status=503, collapsed=True, ttl=-4, age=64),
            "STALE",
            "fwd=stale; fwd-status=503; collapsed; ttl=-4",
        ),
        (result(Outcome.REFUSED), "MISS", "detail=not-forwarded"),
    ],
    ids=str,
)
def test_cache_status_is_that_of_rfc_9211(shown: Result, word: str, status: str) -> None:
    headers = dict(rendering.headers(shown))
    assert headers["Cache-Status"] == f'computer-use-cache; {status}; key="{KEY}"'
    assert headers["X-Computer-Use-Cache"] == headers["X-Code-Model-Cache"] == word


@pytest.mark.parametrize(("reason", "fwd"), [(Reason.ROUTE, "bypass"), (Reason.METHOD, "method")])
def test_a_bypass_has_no_key(reason: Reason, fwd: str) -> None:
    bypass = Bypass(reason)
    headers = dict(rendering.headers(Result(Outcome.BYPASS, fwd=bypass.fwd, status=404, bypass=bypass)))
    assert headers["Cache-Status"] == f"computer-use-cache; fwd={fwd}; fwd-status=404"
    assert headers["X-Computer-Use-Cache-Reason"] == headers["X-Code-Model-Cache-Bypass-Reason"] == reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"near": NEAR}, "near-miss 9b1c2d3e: /messages/0/content @ char 8"),
        ({"storing": FORBIDDEN}, "CACHE_MODE=readonly forbids storing"),
        (
            {"near": NEAR, "storing": FORBIDDEN},
            "near-miss 9b1c2d3e: /messages/0/content @ char 8; CACHE_MODE=readonly forbids storing",
        ),
        ({"said": "Cache-Control: no-cache", "storing": Storing.UPDATED}, "Cache-Control: no-cache"),
        ({"storing": Storing.STORED}, None),
        ({"storing": Skipped("content type is a\r\nb\u00e9", Skip.CONTENT_TYPE)}, "content type is a??b?"),
        ({"storing": Skipped("x" * 1000, Skip.MALFORMED)}, "x" * 300),
    ],
    ids=str,
)
def test_the_reason_names_everything_that_explains_the_miss(fields: dict[str, Any], reason: str | None) -> None:
    assert dict(rendering.headers(result(**fields))).get("X-Computer-Use-Cache-Reason") == reason


@pytest.mark.parametrize("rebound", [(), (("tmp-paths", 1), ("image-mask", 2))])
@pytest.mark.parametrize("ttl", [None, 60, -1])
@pytest.mark.parametrize("age", [0, 86400])
def test_the_lines_of_a_hit_are_its_headers(age: int, ttl: int | None, rebound: tuple[tuple[str, int], ...]) -> None:
    hit = result(Outcome.HIT, age=age, ttl=ttl, rebound=rebound)
    assert rendering.hit_lines(hit) == "".join(f"{name}: {value}\r\n" for name, value in rendering.headers(hit))
    if rebound:
        assert dict(rendering.headers(hit))["X-Computer-Use-Cache-Rebound"] == "tmp-paths 1, image-mask 2"


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (result(Outcome.HIT, age=3, ttl=9), "HIT 3f2a91c0 gpt-test: age 3 s"),
        (
            result(fwd=Fwd.URI_MISS, status=200, storing=Storing.STORED),
            "MISS 3f2a91c0 gpt-test: uri-miss, 200, stored",
        ),
        (
            result(fwd=Fwd.URI_MISS, status=500, storing=Skipped("status 500", Skip.STATUS)),
            "MISS 3f2a91c0 gpt-test: uri-miss, 500, not stored, status 500",
        ),
        (Result(Outcome.BYPASS, fwd=Fwd.BYPASS, bypass=Bypass(Reason.ROUTE)), "BYPASS: bypass, not a cached route"),
        (Result(Outcome.REFUSED, error="bad\nline"), r"REFUSED: bad\nline"),
        (result(Outcome.COALESCED), "COALESCED 3f2a91c0 gpt-test"),
    ],
    ids=str,
)
def test_a_decision_is_one_line_in_the_log(shown: Result, line: str) -> None:
    assert rendering.log_line(shown) == line
