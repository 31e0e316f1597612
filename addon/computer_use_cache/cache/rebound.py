"""Serves an entry to a request that holds other values than the one it was recorded for.

The exact entry comes first, as ever. Only if it is not there is a request prepared: its credentials are concealed, its
template is computed, and the entries of that template are tried, the newest first. What cannot be vouched for is
refused, which makes it a miss. Everything here takes milliseconds for a long request: call it off the event loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgpack
from msgspec.structs import replace

from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.lookup import usable
from computer_use_cache.cache.plan import Plan, Template
from computer_use_cache.cache.policy import Controls
from computer_use_cache.cache.replay import NO_MOVES, QUICKLY_CONVERTED_BYTES, Replayed, replay_rebound
from computer_use_cache.formats.answer import Answer
from computer_use_cache.formats.base import Json
from computer_use_cache.keys.canonical_json import canonical, parse_body
from computer_use_cache.models import Bypass, Entry
from computer_use_cache.rebinding import (
    Bindings,
    Cause,
    Moves,
    Profile,
    Refusal,
    Value,
    approve,
    limits,
    profile_for,
    template_of,
)
from computer_use_cache.rebinding.bindings import CONSTANT
from computer_use_cache.rebinding.kinds import CALL, NORMALIZED
from computer_use_cache.rebinding.moves import TIMES
from computer_use_cache.screens.approval import Approved, Find, Refused
from computer_use_cache.screens.blanking import digests_at, pictures_in
from computer_use_cache.screens.picture import picture_of
from computer_use_cache.store.base import Slow

_OF_FIXED_FORM = (*TIMES, CALL.name)


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of the request's template, and its answer with the present values."""

    entry: Entry
    answer: Replayed


# -- preparing a request


def prepare(cache: Cache, plan: Plan) -> Plan:
    """A planned request without its credentials, and with its template if other runs' answers may be served."""
    if plan.is_prepared or isinstance(plan.verdict, Bypass):
        return plan
    concealed = cache.conceal(plan)
    if isinstance(concealed.verdict, Controls) and (concealed.verdict.rebinds or cache.screens.has_rules):
        concealed = with_template(cache, concealed)
    return replace(concealed, is_prepared=True)


def with_template(cache: Cache, plan: Plan) -> Plan:
    """A concealed request with its template, if its API answers in text. Entries carry it even where rebinding is off,
    so that it can be switched on later."""
    if plan.template or not plan.format.answers_in_text or not isinstance(plan.verdict, Controls):
        return plan
    body, profile = cache.keying.key_body(plan.format, plan.body), _profile(plan)
    try:
        found = template_of(plan.format, body, plan.verdict.bindings, profile)
    except RecursionError:
        return plan
    digest = cache.keying.template_digest(plan, found.body)
    values = (*found.values, *plan.blanked)
    return replace(plan, template=Template(digest, values, found.text, profile, found.pictures))


def _profile(plan: Plan) -> Profile:
    return profile_for(plan.route.request.headers.get("user-agent", ""), plan.forward)


# -- the exact entry


def is_exact(plan: Plan, entry: Entry) -> bool:
    """Whether the entry under the request's own key was recorded for the same values. Normalisers may have removed
    different ones."""
    is_earlier_key = entry.key != plan.key  # without normalisers, which it was recorded before
    return is_earlier_key or not plan.blanked or not entry.bindings or plan.blanked == _blanked(entry)


def replay_exact(cache: Cache, plan: Plan, entry: Entry) -> Replayed | Refusal:
    """The answer of the entry under the request's own key. A value that a normaliser took out is never served stale."""
    if is_exact(plan, entry):
        return replay_rebound(plan, entry, NO_MOVES, b"", cache.settings.hit_usage)
    moves = approve(_blanked(entry), plan.blanked, _profile(plan).kinds)
    answer = moves if isinstance(moves, Refusal) else _rebound(cache, with_template(cache, plan), entry, moves)
    if isinstance(answer, Replayed) and any(answer.counts.values()) and needs_state(plan):
        return Refusal(Cause.STATE)
    return answer


def _blanked(entry: Entry) -> tuple[Value, ...]:
    return tuple(value for value in _values(entry) if value.kind == NORMALIZED.name)


# -- entries of the same template


def find(cache: Cache, plan: Plan, now: float, *, quickly: bool = False) -> Found | Refusal | Slow | None:
    """The newest entry of the request's template that can be rebound to it, or why the first one tried cannot be; None
    if no entry has the template. Raises StoreError.

    If it is to be found `quickly`, on the event loop: SLOW if the entries take too long to read or to rebind, or if
    pictures must be compared.
    """
    first: Refusal | None = None
    for entry in _candidates(cache, plan, now, quickly=quickly):
        if isinstance(entry, Slow):
            return entry
        answer = approved(cache, plan, entry)
        if isinstance(answer, Replayed):
            return Found(entry, answer)
        first = first or answer
    return first


def _candidates(cache: Cache, plan: Plan, now: float, *, quickly: bool) -> Iterator[Entry | Slow]:
    """The newest first. With ordered samples, the n-th that was recorded, then those recorded after it."""
    if plan.template is None:
        return
    keys = cache.store.with_template(plan.template.digest)
    if plan.template_nth is not None:
        keys = keys[::-1][plan.template_nth - 1 :]
    quick_bytes = 0 if plan.template.pictures else QUICKLY_CONVERTED_BYTES  # comparing pictures takes long
    room = quick_bytes if quickly else math.inf
    for key in keys:
        entry = cache.store.get_quickly(key) if quickly else cache.store.get(key)
        if isinstance(entry, Slow):
            yield entry
        elif entry and entry.template == plan.template.digest and isinstance(usable(plan, entry, now), Entry):
            room -= len(entry.body)
            yield entry if room >= 0 else Slow.SLOW


def approved(cache: Cache, plan: Plan, entry: Entry) -> Replayed | Refusal:
    """The answer of an entry of the request's template, or why it cannot be rebound to it. Raises StoreError."""
    assert plan.template, "it was looked up by its template"
    assert isinstance(plan.verdict, Controls), "a bypass is not looked up"
    moves = _moves(entry, _values(entry), plan.template.values, plan.template.profile)
    if isinstance(moves, Refusal):
        return moves
    if moves and needs_state(plan):
        return Refusal(Cause.STATE)
    if moves and not plan.verdict.rebinds:
        return Refusal(Cause.OFF)
    pictures = _approved_pictures(cache, plan, entry, moves)
    if isinstance(pictures, Refused):
        return Refusal(Cause.PICTURE, str(pictures))
    answer = _rebound(cache, plan, entry, moves)
    if isinstance(answer, Refusal):
        return answer
    return Replayed(answer.pieces, {**answer.counts, **{str(rule): count for rule, count in pictures.counts.items()}})


def _moves(entry: Entry, recorded: Sequence[Value], present: Sequence[Value], profile: Profile) -> Moves | Refusal:
    """What moved between the request of an entry, or a part of it, and one with the same template."""
    moves = approve(recorded, present, profile.kinds)
    tokens = entry.output_tokens or len(entry.body)  # a token has a byte or more
    return moves if isinstance(moves, Refusal) or limits.allow(moves.pairs, tokens) else Refusal(Cause.LIMIT)


def _approved_pictures(cache: Cache, plan: Plan, entry: Entry, moves: Moves) -> Approved | Refused:
    """Whether the pictures of two requests count as the same. The present ones are in the request's body, the recorded
    ones in the store."""
    assert plan.template, "it was looked up by its template"
    recorded, present = _kept(entry)[1], plan.template.pictures
    if len(recorded) != len(present):
        return Refused(min(len(recorded), len(present)), None)
    find = _finder(cache, plan, entry) if recorded != present else cache.store.media
    # A typed digit in a value that moved could look like a text cursor.
    texts_equal = not moves.forms and all(value.kind in _OF_FIXED_FORM for value, _ in moves.pairs)
    return cache.screens.approve(recorded, present, find, texts_equal=texts_equal)


def _finder(cache: Cache, plan: Plan, entry: Entry) -> Find:
    """Finds the pictures of both requests by the digests in their templates, which are those of the files without
    metadata. The store keeps whole files; the entry's request names them."""
    shown = {picture_of(one.key_text).digest: one.data for one in pictures_in(plan.format, plan.body)}
    record = cache.store.request(entry.key)
    files = digests_at(plan.format, parse_body(record.body)) if record else []
    names = _kept(entry)[1]
    kept = dict(zip(names, files, strict=True)) if len(names) == len(files) else {}
    return lambda digest: shown.get(digest) or cache.store.media(kept.get(digest, digest))


def _rebound(cache: Cache, plan: Plan, entry: Entry, moves: Moves) -> Replayed | Refusal:
    text = plan.template.text if plan.template else b""
    answer = replay_rebound(plan, entry, moves, text, cache.settings.hit_usage)
    if isinstance(answer, Replayed) and moves and plan.format.keeps_answer(plan.body):
        cache.rebound_answers.put(str(Answer(plan.format, entry.shape, entry.body).whole.get("id")), True)
    if isinstance(answer, Refusal) or answer.counts:
        return answer
    moved = {value.kind: 0 for value, _ in moves.pairs}  # the requests differ, although the answer repeats none of it
    return Replayed(answer.pieces, moved)


def _values(entry: Entry) -> list[Value]:
    return _kept(entry)[0]


def _kept(entry: Entry) -> tuple[list[Value], tuple[str, ...]]:
    """The values and pictures that an entry was recorded with; empty if they cannot be read."""
    try:
        values, pictures = msgpack.unpackb(entry.bindings, unicode_errors="surrogatepass")
        return [Value(*pair) for pair in values], tuple(pictures)
    except (ValueError, TypeError, msgpack.UnpackException):
        return [], ()


# -- trying it out


def attempt(plan: Plan, entry: Entry, recorded: Json, present: Json, bindings: Bindings) -> Replayed | Refusal | None:
    """The result of rebinding an entry's answer; None if the two requests have different templates.

    `recorded` and `present` are the parts of both bodies that enter the keys. `bindings` are the present request's.
    """
    profile = _profile(plan)
    old = template_of(plan.format, recorded, recorded_bindings(entry), profile)
    new = template_of(plan.format, present, bindings, profile)
    if old.pictures != new.pictures or canonical(old.body) != canonical(new.body):
        return None
    moves = _moves(entry, old.values, new.values, profile)
    return moves if isinstance(moves, Refusal) else replay_rebound(plan, entry, moves, new.text)


def recorded_bindings(entry: Entry) -> Bindings:
    """The bindings of the run that recorded an entry."""
    return Bindings({value.kind: value.text for value in _values(entry) if value.kind in CONSTANT})


def needs_state(plan: Plan) -> bool:
    """Whether a later call could name a rebound answer by its id, under which the provider keeps the other run's
    history."""
    if not plan.format.keeps_answer(plan.body) or not plan.route.controls.upstream:
        return False
    profile = _profile(plan)
    return not (profile.one_shot or (profile.carries_history and plan.format.repeats_answers(plan.body)))
