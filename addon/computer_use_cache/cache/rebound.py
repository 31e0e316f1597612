"""Serves an entry to a request that holds other values than the one it was recorded for.

The exact entry comes first, as ever. Only if it is not there is a request prepared: its credentials are concealed, its
template is computed, and the entries of that template are tried, the newest first. What cannot be vouched for is
refused, which makes it a miss. Everything here computes for milliseconds: call it off the event loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgpack
from msgspec.structs import replace

from computer_use_cache.cache.cache import Cache, is_usable
from computer_use_cache.cache.plan import Plan, Template
from computer_use_cache.cache.policy import Controls
from computer_use_cache.cache.replay import Replayed, replay, replay_rebound
from computer_use_cache.models import Bypass, Entry
from computer_use_cache.rebinding import Cause, Moves, Refusal, Value, approve, profile_for, template_of
from computer_use_cache.rebinding.kinds import NORMALIZED


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of the request's template, and its answer with the present values."""

    entry: Entry
    answer: Replayed


# -- requests


def prepare(cache: Cache, plan: Plan) -> Plan:
    """A planned request without its credentials, and with its template if other runs' answers may be served."""
    if plan.is_prepared or isinstance(plan.verdict, Bypass):
        return plan
    concealed = cache.conceal(plan)
    if isinstance(concealed.verdict, Controls) and concealed.verdict.rebinds:
        concealed = with_template(cache, concealed)
    return replace(concealed, is_prepared=True)


def with_template(cache: Cache, plan: Plan) -> Plan:
    """A concealed request with its template, if its API answers in text."""
    if plan.template or not plan.format.answers_in_text or not isinstance(plan.verdict, Controls):
        return plan
    try:
        found = template_of(plan.format, cache.key_body(plan.format, plan.body), plan.verdict.bindings, _profile(plan))
        values = (*found.values, *_normalized(plan))
        return replace(plan, template=Template(cache.template_digest(plan, found.body), values, found.text))
    except RecursionError:
        return plan


def _profile(plan: Plan):  # type: ignore[no-untyped-def]
    return profile_for(plan.route.request.headers.get("user-agent", ""))


def _normalized(plan: Plan) -> Iterable[Value]:
    return (Value(NORMALIZED.name, text) for text in plan.blanked)


# -- entries


def packed(plan: Plan) -> tuple[str, bytes]:
    """The fields `template` and `bindings` of an entry that answers this request."""
    if plan.template is None:
        return "", b""
    bindings: bytes = msgpack.packb(plan.template.values, unicode_errors="surrogatepass")
    return plan.template.digest, bindings
