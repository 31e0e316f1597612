"""Why a request was a miss: the most similar stored request, and where the two first differ."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice

from computer_use_cache.cache import rebound
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.policy import Controls
from computer_use_cache.diagnosis import cures, pictures, request_record
from computer_use_cache.diagnosis.cures import Cure
from computer_use_cache.diagnosis.differences import Difference, differences, without_credentials
from computer_use_cache.diagnosis.sides import Side, without_call_ids
from computer_use_cache.errors import FormatError, StoreError
from computer_use_cache.formats.base import Json, dump
from computer_use_cache.keys import canonical_json, key
from computer_use_cache.models import RequestRecord
from computer_use_cache.screens.approval import Same
from computer_use_cache.screens.suggest import Pair

logger = logging.getLogger(__name__)

_MOST = 8
"""How many differences between two requests are considered."""
_MOST_OF_TEMPLATE = 24
"""How many requests with the same template are considered: pictures are decoded to tell them apart."""
_MOST_ADVICE = 160
"""A longer cure is reduced to the names of its settings, because a part of a rule is useless."""
_LEAST_ALIKE = 0.25
"""Two texts with less in common are not versions of one text: another question was asked."""
type _Rank = tuple[bool, int, int]
_SETTLED_FIRST = ("path", "/model", "/tools")
"""A request with the same model and tools is nearer than one that differs in these."""


@dataclass(frozen=True, slots=True)
class Near:
    """The most similar stored request.

    `key` is that of its entry. `differences` are the first places where the two differ, at least one, in the order of
    the new request. `cure` would have made it a hit. `pairs` are the pictures that differ.
    """

    key: str
    differences: tuple[Difference, ...]
    cure: Cure = Cure()
    pairs: tuple[Pair, ...] = ()

    def __str__(self) -> str:
        return "; ".join(filter(None, (f"near-miss {self.key[:8]}: {self.differences[0]}", self.advice)))

    @property
    def advice(self) -> str:
        """The cure, short enough for headers and comments; empty if there are no settings."""
        cure = str(self.cure)
        return f"a hit with {cure if len(cure) <= _MOST_ADVICE else ' and '.join(self.cure.settings)}" if cure else ""


@dataclass(frozen=True, slots=True)
class Study:
    """What is found out about a miss while the upstream works.

    `record` is the request to store, None if it has no canonical form, and `near` the most similar one, None if no
    request is near.
    """

    record: RequestRecord | None = None
    near: Near | None = None


def study(cache: Cache, plan: Plan) -> Study:
    """Study a prepared request that has a key and no entry. Slow: call it off the event loop."""
    assert isinstance(plan.verdict, Controls), "a bypass is not a miss"
    found = recorded(cache, plan)
    if found.record is None or not plan.verdict.read:
        return found
    try:
        return replace(found, near=nearest(cache, plan, found.record))
    except StoreError as error:
        logger.debug("cannot look for near misses: %s", error)
        return found


def recorded(cache: Cache, plan: Plan) -> Study:
    """The study without the search for the nearest entry, which takes most of the time."""
    try:
        return Study(request_record.record(cache, plan))
    except FormatError as error:
        logger.info("%s is stored without its request: %s", plan.key[:8], error)
        return Study()


def nearest(cache: Cache, plan: Plan, record: RequestRecord) -> Near | None:
    """The stored request most similar to a planned one without an entry, whose record is given; None if none is near.

    A request that merely continues a stored conversation is not a near miss, nor is another question to the same agent.
    Nothing is found across scopes, namespaces, samples and APIs. Blocks; raises StoreError.
    """
    asked = _side(cache, plan, record)
    found: list[tuple[_Rank, Near, Side]] = []
    for other in _candidates(cache, plan, record):
        kept = cache.store.request(other)
        if other == plan.key or kept is None:
            continue
        stored = _side(cache, plan, kept)
        first = _first(asked, stored)
        # Call ids differ in every run. They count only if nothing else differs.
        deciding = _first(without_call_ids(asked), without_call_ids(stored)) or first
        if (
            deciding
            and not _continues(deciding, plan.format.conversation)
            and all(one.alike >= _LEAST_ALIKE for one in deciding)
        ):
            rank = _rank(deciding)
            found.append((rank, Near(other, first), stored))
            if rank <= (False, 1, 1) and not deciding[0].picture:
                break
    if not found:
        return None
    least = min(rank for rank, _, _ in found)
    nearest = [(near, stored) for rank, near, stored in found if rank == least]
    near, stored = nearest[0] if len(nearest) == 1 else _most_alike(cache, asked, nearest)
    asked, shown, pairs = _with_pictures_compared(cache, asked, stored, near.differences)
    cure = (
        Cure()
        if any(_outside(record, stored.record))
        else cures.find(cache, plan, asked, stored, near.key, pairs=pairs)
    )
    shown = tuple(without_credentials(one, stored.body) for one in shown)
    return Near(near.key, shown, cure, pairs)


def _candidates(cache: Cache, plan: Plan, record: RequestRecord) -> Iterable[str]:
    """The keys of requests that share rare parts with this one, and of those with the same template.

    A client that sends no more than its newest screenshot asks all its steps with one template.
    """
    keys = cache.store.near(record.parts)
    template = rebound.with_template(cache, plan).template if record.media else None
    if template:
        others = (one for one in cache.store.with_template(template.digest) if not cache.has_kept(one))
        keys = [*keys, *islice(others, _MOST_OF_TEMPLATE)]
    return dict.fromkeys(keys)


def _most_alike(cache: Cache, asked: Side, nearest: list[tuple[Near, Side]]) -> tuple[Near, Side]:
    """Of requests that differ in as many places, the one whose pictures differ least: the others are other steps. An
    earlier step of the present run looks most alike, so requests of other runs come first."""
    find = pictures.finder(cache.store, asked.record)

    def distance(candidate: tuple[Near, Side]) -> tuple[bool, float]:
        near, stored = candidate
        found = pictures.compared(cache.screens, pictures.differing(asked.body, stored.body), find)
        return cache.has_kept(near.key), sum(map(pictures.distance, found.values()))

    return min(nearest, key=distance)


def _with_pictures_compared(
    cache: Cache, asked: Side, stored: Side, shown: tuple[Difference, ...]
) -> tuple[Side, tuple[Difference, ...], tuple[Pair, ...]]:
    """The new request with recorded pictures in place of its own if their data are equal, the differences described by
    what the pictures show, and the pairs of pictures that differ."""
    pairs, find = pictures.differing(asked.body, stored.body), pictures.finder(cache.store, asked.record)
    if not pairs:
        return asked, shown, ()
    found = pictures.compared(cache.screens, pairs, find)
    equal = {pairs[path] for path, comparison in found.items() if comparison == Same()}
    asked = replace(asked, body=pictures.with_recorded(asked.body, stored.body, equal))
    described = (
        pictures.described(one, found[one.path], pairs[one.path], find) if one.path in pairs else one
        for one in _first(asked, stored) or shown
    )
    return asked, tuple(described), tuple(dict.fromkeys(pair for pair in pairs.values() if pair not in equal))


def _rank(deciding: tuple[Difference, ...]) -> _Rank:
    """Another step of the same task shares all but a few items, so pictures, which differ in every step, come last."""
    is_unsettled = any(one.path.startswith(_SETTLED_FIRST) for one in deciding)
    return is_unsettled, sum(not one.picture for one in deciding), len(deciding)


def log_miss(cache: Cache, plan: Plan, near: Near, now: float) -> None:
    """Log a near miss at `now` (Unix seconds), for `misses`. Blocks; raises StoreError."""
    cache.store.add_miss(
        dump({"at": now, "model": plan.model, "key": plan.key, "run": cache.proxy_id, **as_json(near)})
    )


def as_json(near: Near) -> Json:
    """A near miss as JSON: the entry's key as `near`, the `differences`, all `settings` that would have made it a hit,
    the `normalizers` among them, `uncured`, why there are none, and the `pictures` that differ, by their digests."""
    return {
        "near": near.key,
        "differences": [asdict(difference) for difference in near.differences],
        "normalizers": list(near.cure.normalizers),
        "settings": near.cure.settings,
        "uncured": "" if near.cure else near.cure.reason,
        "pictures": near.pairs,
    }


def _side(cache: Cache, plan: Plan, record: RequestRecord) -> Side:
    return Side(plan.format, record, cache.keying.key_body(plan.format, canonical_json.parse_body(record.body)))


def _first(asked: Side, stored: Side) -> tuple[Difference, ...]:
    return tuple(islice(chain(_outside(asked.record, stored.record), differences(asked.body, stored.body)), _MOST))


def _outside(asked: RequestRecord, stored: RequestRecord) -> Iterator[Difference]:
    """The differences outside the body that change the key of two requests to one API."""
    yield from differences(asked.upstream, stored.upstream, "upstream")
    yield from differences(asked.path, stored.path, "path")
    yield from differences(asked.query, stored.query, "query")
    for name in key.RELEVANT_HEADERS:
        yield from differences(dict(asked.headers).get(name, ""), dict(stored.headers).get(name, ""), f"header {name}")


def _continues(found: tuple[Difference, ...], conversation: str) -> bool:
    """True if the only difference is one more item at the end of the conversation."""
    match found:
        case [Difference(path, None, asked, None)] if asked is not None:
            name, _, index = path.removeprefix("/").partition("/")
            return name == conversation and index.isdecimal()
    return False
