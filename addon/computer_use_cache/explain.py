"""Why a request was a miss: the stored request that is nearest to it, and where the two first differ."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from computer_use_cache import key, normalize
from computer_use_cache.cache import Cache, Plan
from computer_use_cache.errors import FormatError, StoreError
from computer_use_cache.formats.base import Json, dump, load_object
from computer_use_cache.models import Bypass, RequestRecord
from computer_use_cache.policy import Controls
from computer_use_cache.sketch import CONVERSATIONS
from computer_use_cache.store import Store

logger = logging.getLogger(__name__)

_MOST_DIFFERENCES = 8
_SHOWN_BEFORE = 8
_SHOWN_CHARS = 32
"""Of each side of a difference: from a little before the place where the two part."""
_LEAST_ALIKE = 0.25
"""Two texts less alike are no versions of one text: another question was asked."""
_PROSE_WORDS = 3
"""A text of fewer words is a name, an id or a date, which may change as a whole."""


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
    found: list[tuple[Near, RequestRecord]] = []
    for other in cache.store.near(record.parts):
        stored = cache.store.request(other)
        if other == plan.key or stored is None:
            continue
        first = tuple(islice(_record_differences(cache, plan, record, stored), _MOST_DIFFERENCES))
        if first and not _goes_on(first) and all(one.alike >= _LEAST_ALIKE for one in first):
            found.append((Near(other, first), stored))
    if not found:
        return None
    near, stored = min(found, key=lambda pair: len(pair[0].differences))
    return replace(near, normalizers=_cure(cache, plan, near, record, stored))


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


def _record_differences(cache: Cache, plan: Plan, asked: RequestRecord, stored: RequestRecord) -> Iterator[Difference]:
    """Where two requests to the plan's API differ in what enters the key: outside the body, then in it."""
    yield from differences(asked.upstream, stored.upstream, "upstream")
    yield from differences(asked.path, stored.path, "path")
    yield from differences(asked.query, stored.query, "query")
    for name in key.RELEVANT_HEADERS:
        yield from differences(dict(asked.headers).get(name, ""), dict(stored.headers).get(name, ""), f"header {name}")
    body, stored_body = (cache.key_body(plan.format, key.parse_body(record.body)) for record in (asked, stored))
    yield from differences(body, stored_body)


def _cure(cache: Cache, plan: Plan, near: Near, asked: RequestRecord, stored: RequestRecord) -> tuple[str, ...]:
    """The fewest named normalisers, one where one is enough, that make two near requests equal; none where none do.

    Pictures are kept by the digest of their bytes: `image-pixels` cannot be tried.
    """
    if not near.differences[0].path.startswith("/"):  # what lies outside of the body comes first
        return ()
    bodies = [cache.key_body(plan.format, key.parse_body(record.body)) for record in (asked, stored)]

    def are_enough(names: Iterable[str]) -> bool:
        one, other = bodies
        for name in names:
            one, other = normalize.named(name).apply(one), normalize.named(name).apply(other)
        return key.canonical(one) == key.canonical(other)

    names = [name for name in normalize.NAMES if name != "image-pixels"]
    if not are_enough(names):
        return ()
    if alone := next((name for name in names if are_enough([name])), None):
        return (alone,)
    for name in list(names):
        if are_enough(others := [other for other in names if other != name]):
            names = others
    return tuple(names)


def _goes_on(found: tuple[Difference, ...]) -> bool:
    match found:
        case [Difference(path, None, asked, None)] if asked is not None:
            name, _, index = path.removeprefix("/").partition("/")
            return name in CONVERSATIONS and index.isdecimal()
    return False


def differences(asked: object, recorded: object, path: str = "") -> Iterator[Difference]:
    """Where two JSON values (as `key.parse_body` gives them) differ, `path` being where they lie."""
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
            if key.canonical(asked) != key.canonical(recorded):
                yield Difference(path, None, _written(asked), _written(recorded))


def _text_difference(asked: str, recorded: str, path: str) -> Difference:
    at = _parting(asked, recorded)
    start = max(at - _SHOWN_BEFORE, 0)
    one, other = asked[start : start + _SHOWN_CHARS], recorded[start : start + _SHOWN_CHARS]
    longer = max(asked, recorded, key=len)
    if len(longer.split(maxsplit=_PROSE_WORDS)) < _PROSE_WORDS:
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
    return key.canonical(value).decode("utf-8", "replace")[:_SHOWN_CHARS]
