"""Why a request was a miss: the stored request that is nearest to it, and where the two first differ."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from typing import Any

from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.policy import Controls
from computer_use_cache.diagnosis.request_record import digests, is_media, with_media
from computer_use_cache.diagnosis.similarity import CONVERSATIONS
from computer_use_cache.errors import FormatError, StoreError
from computer_use_cache.formats.base import Json, dump, load_object
from computer_use_cache.keys import canonical_json, key, normalizers
from computer_use_cache.models import Bypass, RequestRecord
from computer_use_cache.screens.pixels import can_decode
from computer_use_cache.store.base import Store

logger = logging.getLogger(__name__)

_MOST = 8
"""So many differences of two requests are looked at."""
_SHOWN_BEFORE = 8
_SHOWN_CHARS = 32
"""Of each side of a difference: from a little before the place where the two part."""
_LEAST_ALIKE = 0.25
"""Two texts less alike are no versions of one text: another question was asked."""
_PROSE_WORDS = 3
"""A text of fewer words is a name, an id or a date, which may change as a whole."""
_MOST_PICTURES = 8
"""Four of each of two requests are decoded."""
_normalizer = functools.cache(normalizers.named)
"""Patterns are compiled once, and pictures met again are known."""
_TEXT_NAMES = tuple(name for name in normalizers.NAMES if not name.startswith("image-"))
_SETTLED_FIRST = ("path", "/model", "/tools")
"""A request to the same model with the same tools is nearer than one that differs there."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two requests differ.

    `path` is a JSON pointer (RFC 6901) into the body, or `upstream`, `path`, `query` or `header <name>`. `at` is the
    character, counted from 0, at which two texts part; None where they are not both texts. `asked` and `recorded` are
    a few characters of both sides, None where a side has nothing there. `alike` is how much of the longer text (0 to 1)
    lies before and after what differs; 1 where they are not both prose.
    """

    path: str
    at: int | None
    asked: str | None
    recorded: str | None
    alike: float = 1.0

    def __str__(self) -> str:
        return self.path if self.at is None else f"{self.path} @ char {self.at}"


@dataclass(frozen=True, slots=True)
class Near:
    """The stored request nearest to another: its entry's key, the first places where they differ (at least one, in
    the order of the request that was asked), and the normalisers with which it would have been a hit, if there are."""

    key: str
    differences: tuple[Difference, ...]
    normalizers: tuple[str, ...] = ()

    def __str__(self) -> str:
        cure = f"; a hit with CACHE_NORMALIZE={','.join(self.normalizers)}" if self.normalizers else ""
        return f"near-miss {self.key[:8]}: {self.differences[0]}{cure}"


@dataclass(frozen=True, slots=True)
class Study:
    """What is found out about a miss while the upstream works: the `bypass` of a request that holds a credential, else
    the `record` to keep of it and what it is `near` to; None where there is no such thing."""

    bypass: Bypass | None = None
    record: RequestRecord | None = None
    near: Near | None = None


@dataclass(frozen=True, slots=True)
class _Side:
    """One of two requests that are compared: its record, and its body as it enters the key."""

    record: RequestRecord
    body: Json


def study(cache: Cache, plan: Plan) -> Study:
    """Study a planned request that has a key and no entry. Slow: call it off the event loop."""
    assert isinstance(plan.verdict, Controls), "a bypass is no miss"
    if bypass := cache.credential(plan):
        return Study(bypass)
    try:
        record = cache.record(plan)
        near = nearest(cache, plan, record) if plan.verdict.read else None
    except FormatError as error:
        logger.info("%s is kept without its request: %s", plan.key[:8], error)
        return Study()
    except StoreError as error:
        logger.debug("near entries are not known: %s", error)
        return Study(record=record)
    return Study(record=record, near=near)


def nearest(cache: Cache, plan: Plan, record: RequestRecord) -> Near | None:
    """The stored request nearest to a planned one without an entry, whose `record` is given; None where none is near.

    A conversation that only goes on from a stored one is no near miss, nor is another question to the same agent.
    Nothing is found across scopes, namespaces, samples and APIs. Blocks; raises StoreError.
    """
    asked = _side(cache, plan, record)
    found: list[tuple[tuple[bool, int], Near, _Side]] = []
    for other in cache.store.near(record.parts):
        kept = cache.store.request(other)
        if other == plan.key or kept is None:
            continue
        stored = _side(cache, plan, kept)
        first = _first(asked, stored)
        # Every run has other call ids: they do not decide, and where nothing else differs, they are what differs.
        deciding = _first(_without_call_ids(asked), _without_call_ids(stored)) or first
        if deciding and not _goes_on(deciding) and all(one.alike >= _LEAST_ALIKE for one in deciding):
            rank = (any(one.path.startswith(_SETTLED_FIRST) for one in deciding), len(deciding))
            found.append((rank, Near(other, first), stored))
            if rank <= (False, 1):
                break
    if not found:
        return None
    _, near, stored = min(found, key=lambda one: one[0])
    return replace(near, normalizers=_cure(cache.store, asked, stored))


def log_miss(cache: Cache, plan: Plan, near: Near, now: float) -> None:
    """Note a near miss at `now` (Unix seconds), for `misses`. Blocks; raises StoreError."""
    cache.store.add_miss(dump({"at": now, "model": plan.model, "key": plan.key, **as_json(near)}))


def as_json(near: Near) -> Json:
    """What machines read: the `near` entry's key, the fields of the `differences`, and the `normalizers`."""
    differences = [asdict(difference) for difference in near.differences]
    return {"near": near.key, "differences": differences, "normalizers": list(near.normalizers)}


def misses(store: Store, since: float) -> list[Json]:
    """The near misses noted since then (Unix seconds), the newest first. Each holds `at`, `model`, `key`, and what
    `as_json` gives. Blocks; raises StoreError."""
    return [miss for miss in map(load_object, store.misses()) if miss["at"] >= since]


def _side(cache: Cache, plan: Plan, record: RequestRecord) -> _Side:
    return _Side(record, cache.key_body(plan.format, canonical_json.parse_body(record.body)))


def _without_call_ids(side: _Side) -> _Side:
    return replace(side, body=normalizers.without_call_ids(side.body))


def _first(asked: _Side, stored: _Side) -> tuple[Difference, ...]:
    return tuple(islice(chain(_outside(asked.record, stored.record), differences(asked.body, stored.body)), _MOST))


def _outside(asked: RequestRecord, stored: RequestRecord) -> Iterator[Difference]:
    """Where two requests to one API differ in what enters the key outside the body."""
    yield from differences(asked.upstream, stored.upstream, "upstream")
    yield from differences(asked.path, stored.path, "path")
    yield from differences(asked.query, stored.query, "query")
    for name in key.RELEVANT_HEADERS:
        yield from differences(dict(asked.headers).get(name, ""), dict(stored.headers).get(name, ""), f"header {name}")


def _cure(store: Store, asked: _Side, stored: _Side) -> tuple[str, ...]:
    """The fewest named normalisers, one where one is enough, that make two requests equal; none where none do."""
    if any(_outside(asked.record, stored.record)):
        return ()
    pair, pixels = (asked.body, stored.body), tuple[str, ...]()
    if not _are_enough(_TEXT_NAMES, pair):
        seen = _with_pixels(store, asked, stored)
        if seen is None or not _are_enough(_TEXT_NAMES, seen):
            return ()
        pair, pixels = seen, ("image-pixels",)
    for few in ((), *((name,) for name in _TEXT_NAMES)):
        if _are_enough(few, pair):
            return (*few, *pixels)
    names = list(_TEXT_NAMES)
    for name in _TEXT_NAMES:
        if _are_enough(others := [other for other in names if other != name], pair):
            names = others
    return (*names, *pixels)


def _are_enough(names: Iterable[str], pair: tuple[Json, Json]) -> bool:
    one, other = pair
    for name in names:
        one, other = _normalizer(name).apply(one), _normalizer(name).apply(other)
    return canonical_json.canonical(one) == canonical_json.canonical(other)


def _with_pixels(store: Store, asked: _Side, stored: _Side) -> tuple[Json, Json] | None:
    """The bodies with pixels for the pictures that differ, which take tens of milliseconds each; None where something
    else differs, too, or the pictures cannot be had."""
    differing = digests(asked.record.body) ^ digests(stored.record.body)
    if not 0 < len(differing) <= _MOST_PICTURES or not can_decode():
        return None
    if not _are_enough(_TEXT_NAMES, (with_media(asked.body, lambda _: ""), with_media(stored.body, lambda _: ""))):
        return None
    texts = {digest: asked.record.media.get(digest) or store.media(digest) for digest in differing}

    def seen(body: Json) -> Json:
        return _normalizer("image-pixels").apply(with_media(body, lambda digest: texts.get(digest) or digest))

    return seen(asked.body), seen(stored.body)


def _goes_on(found: tuple[Difference, ...]) -> bool:
    match found:
        case [Difference(path, None, asked, None)] if asked is not None:
            name, _, index = path.removeprefix("/").partition("/")
            return name in CONVERSATIONS and index.isdecimal()
    return False


def differences(asked: object, recorded: object, path: str = "") -> Iterator[Difference]:
    """Where two JSON values (as `canonical_json.parse_body` gives them) differ, `path` being where they lie."""
    match asked, recorded:
        case dict(), dict():
            for name in asked | recorded:
                below = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
                if name in asked and name in recorded:
                    yield from differences(asked[name], recorded[name], below)
                else:
                    yield Difference(below, None, _shown(asked, name), _shown(recorded, name))
        case list(), list():
            for index, (one, other) in enumerate(zip(asked, recorded, strict=False)):
                yield from differences(one, other, f"{path}/{index}")
            if len(asked) != len(recorded):
                place = min(len(asked), len(recorded))
                yield Difference(f"{path}/{place}", None, _shown(asked, place), _shown(recorded, place))
        case str(), str():
            if asked != recorded:
                yield _text_difference(asked, recorded, path)
        case _:
            if canonical_json.canonical(asked) != canonical_json.canonical(recorded):
                yield Difference(path, None, _written(asked), _written(recorded))


def _text_difference(asked: str, recorded: str, path: str) -> Difference:
    at = _parting(asked, recorded)
    start = max(at - _SHOWN_BEFORE, 0)
    one, other = asked[start : start + _SHOWN_CHARS], recorded[start : start + _SHOWN_CHARS]
    longer = max(asked, recorded, key=len)
    if len(longer.split(maxsplit=_PROSE_WORDS)) < _PROSE_WORDS or is_media(longer):
        return Difference(path, at, one, other)
    return Difference(path, at, one, other, alike=(at + _parting(asked[:at:-1], recorded[:at:-1])) / len(longer))


def _parting(one: str, other: str) -> int:
    """Where two different texts part; by halves, as texts may be long."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _shown(values: Any, place: Any) -> str | None:
    there = place in values if isinstance(values, dict) else place < len(values)
    return _written(values[place]) if there else None


def _written(value: object) -> str:
    return canonical_json.canonical(value).decode("utf-8", "replace")[:_SHOWN_CHARS]
