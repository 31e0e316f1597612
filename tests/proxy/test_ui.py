"""What interfaces show of a flow: marker, comment and views; and how many flows they keep."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import contentviews, flow, http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from computer_use_cache.diagnosis.differences import Difference
from computer_use_cache.diagnosis.near_miss import Near
from computer_use_cache.exchange.decisions import Answer, Serve, ServeStale, Share
from computer_use_cache.exchange.result import Result, Storing, of_ending
from computer_use_cache.models import Bypass, Cost, Entry, Fwd, Outcome, Reason, Request, Shape, Skip, Skipped
from computer_use_cache.proxy import cache_headers
from computer_use_cache.proxy.replayer import Replayer
from computer_use_cache.proxy.session import Session
from computer_use_cache.proxy.ui.annotations import Inspector, annotate, trim
from computer_use_cache.proxy.ui.content_views import ModelAnswer, ModelRequest
from computer_use_cache.settings import Settings
from support import chat_events, chat_request, completion

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what mitmproxy's own addons import
    from mitmproxy.addons.view import View
    from mitmproxy.test import taddons
    from mitmproxy.tools.web.webaddons import WebAddon

KEY = "3f2a91c0" + "0" * 56
NEAR = Near("9b1c2d3e" + "0" * 56, (Difference("/messages/0/content", 8, "a", "b"),))


def miss(**fields: Any) -> Result:
    return Result(**{"outcome": Outcome.MISS, "model": "m", "key": KEY, "fwd": Fwd.URI_MISS} | fields)


@pytest.mark.parametrize(
    ("result", "marker", "comment"),
    [
        (Result(Outcome.HIT, "m", KEY, age=3, ttl=9), ":zap:", "HIT 3f2a91c0"),
        (miss(storing=Storing.STORED), ":large_blue_circle:", "MISS stored · 3f2a91c0"),
        (
            miss(storing=Storing.STORED, near=NEAR),
            ":large_blue_circle:",
            "MISS messages/0/content @ char 8 · near 9b1c2d3e · stored · 3f2a91c0",
        ),
        (
            miss(storing=Skipped("too large", Skip.TOO_LARGE)),
            ":large_blue_circle:",
            "MISS skipped: too large · 3f2a91c0",
        ),
        (
            miss(fwd=Fwd.REQUEST, said="Cache-Control: no-cache", storing=Storing.UPDATED),
            ":large_blue_circle:",
            "MISS Cache-Control: no-cache · updated · 3f2a91c0",
        ),
        (Result(Outcome.COALESCED, "m", KEY, Fwd.URI_MISS, collapsed=True), ":link:", "COALESCED 3f2a91c0"),
        (Result(Outcome.STALE, "m", KEY, Fwd.STALE), ":hourglass_flowing_sand:", "STALE 3f2a91c0"),
        (
            Result(Outcome.BYPASS, fwd=Fwd.BYPASS, bypass=Bypass(Reason.DISABLED)),
            ":white_circle:",
            "BYPASS cache disabled",
        ),
        (Result(Outcome.REFUSED, "m", KEY, error="no"), ":no_entry:", "REFUSED no · 3f2a91c0"),
    ],
)
def test_a_flow_is_marked_and_commented_by_its_outcome(result: Result, marker: str, comment: str) -> None:
    seen = tflow.tflow(resp=True)
    cache_headers.note(seen, result)
    annotate(seen)
    assert (seen.marked, seen.comment) == (marker, comment)


@pytest.mark.parametrize(
    ("seconds", "usd", "saved"),
    [
        (8.123, 0.0042, "$0.0042, 8.1 s"),
        (0.1, None, "0.1 s"),
        (0.0042, 0.0, "$0.00, 4 ms"),
        (0.0, 1234.5, "$1,234.50, 0 ms"),
    ],
)
def test_a_hit_says_what_it_saved(seconds: float, usd: float | None, saved: str) -> None:
    seen = tflow.tflow(resp=True)
    cache_headers.note(seen, Result(Outcome.HIT, "m", KEY, saved=Cost(usd=usd, seconds=seconds)))
    annotate(seen)
    assert seen.comment == f"HIT {saved} saved · 3f2a91c0"
    cache_headers.note(seen, miss(storing=Storing.STORED))
    annotate(seen)
    assert seen.comment == "MISS stored · 3f2a91c0"


@pytest.mark.parametrize(
    ("ending", "usd", "comment"),
    [
        (Serve, 0.0042, "HIT $0.0042, 8.1 s saved · <>"),
        (Serve, None, "HIT 8.1 s saved · <>"),
        (lambda entry, pieces: ServeStale(entry, pieces, 503), 0.0042, "STALE $0.0042 saved · <>"),
        (lambda entry, pieces: ServeStale(entry, pieces, 503), None, "STALE <>"),
        (Share, 0.0042, "COALESCED <>"),
    ],
)
def test_savings_are_shown_for_hits_and_without_time_for_stale_answers(
    ending: Callable[[Entry, list[bytes]], Answer], usd: float | None, comment: str, tmp_path: Path
) -> None:
    settings = Settings.load({"UPSTREAM_BASE_URL": "https://api.example/v1", "CACHE_DIR": str(tmp_path)})
    session = Session(settings, {}, loopback=True)
    plan = session.cache.plan(Request("https://api.example/v1", "/chat/completions", (), {}, REQUEST))
    entry = Entry(plan.key, "chat_completions", Shape.JSON, "m", "", (), b"{}", 1.0, None, 8.123, usd=usd)
    seen = tflow.tflow()
    result = of_ending(miss(key=plan.key), ending(entry, [b"{}"]), 2.0)
    Replayer(settings).serve(seen, plan, entry, [b"{}"], result)
    annotate(seen)
    assert seen.comment == comment.replace("<>", plan.key[:8])
    session.close()


@pytest.mark.parametrize(("named", "shown"), [("", "88ziy7jdsv"), ("nightly-4", "nightly-4")])
def test_a_filter_finds_the_flows_of_a_run_once_they_are_recorded(named: str, shown: str) -> None:
    flows = [tflow.tflow(resp=True) for _ in range(3)]
    view = View()
    with taddons.context(view) as context:
        view.add(flows)
        context.configure(view, view_filter=rf'~meta "cache_run: {shown}" & ~meta "cache_step: [12]$"')
        assert len(view) == 0
        for step, flow in enumerate(flows, 1):
            cache_headers.name_run(flow, named)
            cache_headers.note_step(flow, "88ziy7jdsv", step)
        assert list(view) == flows[:2]
        cache_headers.name_run(flows[0], "")
        assert not flows[0].metadata.keys() & {"cache_run", "cache_step"}, "it is asked again"


def test_a_flow_without_a_report_is_left_alone() -> None:
    seen = tflow.tflow(resp=True)
    annotate(seen)
    assert (seen.marked, seen.comment) == ("", "")


def test_a_replayed_flow_is_annotated_anew_and_what_a_user_wrote_stays() -> None:
    seen = tflow.tflow(resp=True)
    cache_headers.note(seen, miss(storing=Storing.STORED))
    annotate(seen)
    cache_headers.note(seen, Result(Outcome.HIT, "m", KEY))
    annotate(seen)
    assert (seen.marked, seen.comment) == (":zap:", "HIT 3f2a91c0")
    seen.marked, seen.comment = ":grapes:", "look at this"
    annotate(seen)
    assert (seen.marked, seen.comment) == (":grapes:", "look at this")


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [(None, ["icon", "path", "comment", "status", "size", "time"]), (["path", "tls"], ["path", "tls"])],
    ids=["by default", "where the user has chosen"],
)
def test_mitmweb_shows_the_comments(chosen: list[str] | None, shown: list[str]) -> None:
    web = WebAddon()
    with taddons.context(web, loadcore=False) as context:
        if chosen:
            context.configure(web, web_columns=chosen)
        Inspector(lambda: None).running()
        assert context.options.web_columns == shown


# -- how many


def over(number: int, **fields: Any) -> flow.Flow:
    """A flow that is over."""
    seen = tflow.tflow(resp=True)
    seen.timestamp_created = number
    seen.live = False
    cache_headers.note(seen, Result(Outcome.HIT, "m", KEY))
    annotate(seen)
    for name, value in fields.items():
        setattr(seen, name, value)
    return seen


@pytest.mark.parametrize(
    ("kept", "most"),
    [
        pytest.param({"live": True}, 1, id="one that runs"),
        pytest.param({"intercepted": True}, 1, id="one that waits for the user"),
        pytest.param({"marked": ":grapes:"}, 1, id="one that the user marked"),
    ],
)
def test_the_oldest_flows_go_first_and_some_never(kept: dict[str, Any], most: int) -> None:
    view = View()
    with taddons.context(view):
        flows = [over(0, **kept), *(over(number) for number in range(1, 10)), tflow.ttcpflow()]
        view.add(flows)
        trim(view, 4)
        assert list(view.resolve("@all")) == [flows[0], *flows[-3:]]
        trim(view, 0)
        assert list(view.resolve("@all")) == [flows[0], flows[-1]], "the TCP flow still runs"


def test_a_flow_whose_mark_was_taken_off_may_go() -> None:
    view = View()
    with taddons.context(view):
        view.add([over(0, marked="")])
        trim(view, 0)
        assert view.store_count() == 0


# -- views


def shown(request: bytes, answer: bytes, content_type: str, path: str, status: int = 200) -> list[tuple[str, str]]:
    """(view, text) of the request and of the answer, as the interfaces choose and fill them."""
    seen = tflow.tflow(resp=True)
    seen.client_conn.proxy_mode = ProxyMode.parse("reverse:https://api.example")
    seen.request = http.Request.make(
        "POST", f"https://api.example{path}", request, {"content-type": "application/json"}
    )
    seen.response = http.Response.make(status, answer, {"content-type": content_type})
    results = [contentviews.prettify_message(message, seen) for message in (seen.request, seen.response)]
    return [(result.view_name or "", result.text) for result in results]


@pytest.fixture
def _views(tmp_path: Path) -> Iterator[None]:
    settings = Settings.load({"UPSTREAM_BASE_URL": "https://api.example/v1", "CACHE_DIR": str(tmp_path)})
    session = Session(settings, {}, loopback=True)
    for view in (ModelRequest, ModelAnswer):
        contentviews.add(view(lambda: session))
    with taddons.context():
        yield
    session.close()


CHAT = "/v1/chat/completions"
JSON, SSE = "application/json", "text/event-stream"
REQUEST = json.dumps(chat_request("ping")).encode()
STREAM = b"".join(chat_events("po", "ng"))


@pytest.mark.usefixtures("_views")
@pytest.mark.parametrize(
    ("answer", "content_type", "text"),
    [
        pytest.param(json.dumps(completion("pong")).encode(), JSON, "── [0] assistant · stop", id="JSON"),
        pytest.param(STREAM, SSE, "\npong\n", id="a stream"),
        pytest.param(STREAM[:-60], SSE, "This stream is incomplete: ", id="a stream that was cut"),
        pytest.param(
            STREAM[:90], SSE, "This stream is incomplete: the body is not JSON", id="a stream cut in its first event"
        ),
        pytest.param(b"\xff\xfe", JSON, "Cannot be parsed: the body is not JSON.\n\n\\xff\\xfe", id="no JSON"),
        pytest.param(b'{"a": ' * 100_000, JSON, "Cannot be parsed: ", id="a trap"),
    ],
)
def test_requests_and_answers_have_views_that_never_fail(answer: bytes, content_type: str, text: str) -> None:
    (request_view, request), (answer_view, told) = shown(REQUEST, answer, content_type, CHAT)
    assert (request_view, answer_view) == ("Model request", "Model answer")
    assert "── [0] user" in request
    assert "ping" in request
    assert text in told


@pytest.mark.usefixtures("_views")
def test_geminis_array_is_assembled() -> None:
    pieces = [{"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]} for text in ("po", "ng")]
    pieces[-1]["candidates"][0]["finishReason"] = "STOP"  # type: ignore[assignment]
    path = "/v1beta/models/gemini-test:streamGenerateContent"
    views = shown(b'{"contents": []}', json.dumps(pieces).encode(), JSON, path)
    assert views[1][0] == "Model answer"
    assert "── [0] model · STOP" in views[1][1]


@pytest.mark.usefixtures("_views")
@pytest.mark.parametrize(
    ("path", "status"), [("/v1/files", 200), (CHAT, 429)], ids=["another route's body", "an error"]
)
def test_anything_but_a_models_answer_has_the_usual_view(path: str, status: int) -> None:
    assert shown(REQUEST, b'{"error": {}}', JSON, path, status)[1][0] == "JSON"
