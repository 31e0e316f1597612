"""Marks and comments each flow for mitmweb, mitmproxy's console and saved flows, and limits how many flows they keep.

A marker or comment that a user has set is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mitmproxy import contentviews, ctx, flow, http
from mitmproxy.addonmanager import Loader

from computer_use_cache.models import Outcome
from computer_use_cache.proxy.session import Session
from computer_use_cache.proxy.ui import content_views

if TYPE_CHECKING:
    from mitmproxy.addons.view import View

_MARKERS = {
    Outcome.HIT: ":zap:",
    Outcome.MISS: ":large_blue_circle:",
    Outcome.BYPASS: ":white_circle:",
    Outcome.STALE: ":hourglass_flowing_sand:",
    Outcome.COALESCED: ":link:",
    Outcome.REFUSED: ":no_entry:",
}
_MARKED, _COMMENTED = "cache_marker", "cache_comment"
"""Under these names, a flow's metadata remember the marker and comment that were set here: a user's are left alone."""
_COLUMNS = ["icon", "path", "comment", "status", "size", "time"]


def annotate(flow: http.HTTPFlow) -> None:
    """Set the marker and the comment of a flow that has a result."""
    outcome = flow.metadata.get("cache")
    if outcome is None:
        return
    marker, comment = _MARKERS[outcome], flow.metadata["cache_summary"]
    if flow.marked == flow.metadata.get(_MARKED, ""):
        flow.marked = flow.metadata[_MARKED] = marker
    if flow.comment == flow.metadata.get(_COMMENTED, ""):
        flow.comment = flow.metadata[_COMMENTED] = comment


class Inspector:
    """mitmproxy addon for its interfaces. `session` returns the running cache, None if it did not start."""

    name = "cache_inspector"

    def __init__(self, session: Callable[[], Session | None]) -> None:
        self._session = session

    def load(self, loader: Loader) -> None:
        contentviews.add(content_views.ModelRequest(self._session))
        contentviews.add(content_views.ModelAnswer(self._session))

    def running(self) -> None:
        if "web_columns" in ctx.options and not ctx.options.has_changed("web_columns"):
            ctx.options.update(web_columns=_COLUMNS)

    def response(self, flow: http.HTTPFlow) -> None:
        annotate(flow)
        self._trim()

    def error(self, flow: http.HTTPFlow) -> None:
        annotate(flow)
        self._trim()

    def _trim(self) -> None:
        session, view = self._session(), ctx.master.addons.get("view")
        if session and session.settings.max_flows and view is not None:  # a view without flows is falsy
            trim(view, session.settings.max_flows)


def trim(view: View, most: int) -> None:
    """Remove the oldest flows from an interface's view until `most` are left. Flows that still run, are intercepted or
    were marked by a user stay."""
    surplus = view.store_count() - most
    if surplus <= 0:
        return
    spare = (flow for flow in view.resolve("@all") if not _is_wanted(flow))
    for _, oldest in zip(range(surplus), spare, strict=False):
        view.remove([oldest])


def _is_wanted(flow: flow.Flow) -> bool:
    return flow.live or flow.intercepted or flow.marked not in ("", flow.metadata.get(_MARKED))
