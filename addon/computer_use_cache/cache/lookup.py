"""Decides whether a stored entry may answer a plan, and makes the error for a plan that nothing may answer."""

from __future__ import annotations

from computer_use_cache.cache import policy
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.policy import Controls
from computer_use_cache.errors import RequestError
from computer_use_cache.models import Absent, Bypass, Entry, Fwd

OFFLINE_MISS = "cache_offline_miss"
"""The code of the error that `offline_error` makes."""

_NOT_STORED, _EXPIRED = Absent(Fwd.URI_MISS), Absent(Fwd.STALE)


def unread(plan: Plan) -> Absent | None:
    """Why a plan must not be looked up; None if it may be."""
    if isinstance(plan.verdict, Bypass):
        return Absent(plan.verdict.fwd)
    return Absent(Fwd.REQUEST, plan.verdict.read_ban) if plan.verdict.read_ban else None


def checked(plan: Plan, entry: Entry | None, now: float) -> Entry | Absent:
    """The entry found under a key of the plan if it may answer, else the reason why not."""
    return usable(plan, entry, now) if entry else _NOT_STORED


def usable(plan: Plan, entry: Entry, now: float) -> Entry | Absent:
    """The entry if it is fresh enough for the plan, else the reason why it must not be served."""
    assert isinstance(plan.verdict, Controls), "a bypass is not looked up"
    if entry.offline_only and plan.verdict.upstream:
        return _NOT_STORED
    if not entry.is_fresh(now):
        return _EXPIRED
    limit = plan.verdict.max_age
    if limit is not None and now - entry.created_at > limit:
        return Absent(Fwd.REQUEST, f"Cache-Control: max-age={limit}")
    return entry


def offline_error(ban: str, why: str) -> RequestError:
    """The error for a request that would have to go upstream although `ban` forbids it.

    It is sent with the format's `offline_status`, which agents do not retry. Only-if-cached has a status of its own
    (RFC 9111, section 5.2.1.7).
    """
    if ban == policy.ONLY_IF_CACHED:
        return RequestError(504, f"{ban} lets nothing go upstream: {why}.", code=OFFLINE_MISS)
    if ban == policy.FORK:
        cure = "Fork at this step or at an earlier one."
    else:
        cure = "CACHE_MODE=readwrite sends it upstream, and records the answer if possible."
    return RequestError(404, f"{ban} lets nothing go upstream: {why}. {cure}", code=OFFLINE_MISS)
