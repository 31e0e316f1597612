"""Which settings would turn a near miss into a hit, and a right one.

A setting is suggested only if it makes the two requests equal, and if the stored answer does not repeat the values that
it would ignore: an agent that is told to write to `/tmp/a` must not be served an answer that writes to `/tmp/b`. Nor is
it suggested for an answer that rebinding cannot vouch for, such as one with a date computed from one that moved.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from computer_use_cache import formats
from computer_use_cache.cache import rebound
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.policy import Controls
from computer_use_cache.cache.replay import Replayed
from computer_use_cache.diagnosis import candidates, pictures
from computer_use_cache.diagnosis.differences import without_equal
from computer_use_cache.diagnosis.request_record import digests, with_media
from computer_use_cache.diagnosis.sides import Side, without_call_ids
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import walking
from computer_use_cache.formats.answer import Answer
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.keys import canonical_json, normalizers
from computer_use_cache.keys.key import remove_pointers
from computer_use_cache.models import Entry, Shape
from computer_use_cache.rebinding import Bindings, Cause, Refusal
from computer_use_cache.screens.approval import Rule
from computer_use_cache.screens.pixels import can_decode
from computer_use_cache.screens.suggest import Pair, PictureMiss, suggest
from computer_use_cache.store.base import RequestLog

_MOST_PICTURES = 8
"""Decoding is slow; this allows four pictures of each request."""
_TEXT_NAMES = tuple(name for name in normalizers.NAMES if not name.startswith("image-"))
_WORD = re.compile(r"\w+")
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)")
"""Escapes in JSON that is a string itself, as arguments of tool calls are: `\\n7` is not a word `n7`."""
_LONG_WORD = 5
"""A value of at least this length is also found inside longer words; a shorter one, like the `24` of a date, is not."""
CHANGED = "the question itself changed"
_REPEATED = "the recorded answer repeats what moved"
_REBOUND = "rebinding answers it by now"
_TYPED = "what looks like a text cursor may be a typed letter"
FOLLOWS = "an earlier miss began another chain of responses"
_UNSAFE = (Cause.COMPUTED, Cause.ORDER, Cause.SIGNED, Cause.TRACE)
"""Refusals of rebinding that say that the answer depends on the values that moved."""


@dataclass(frozen=True, slots=True)
class Cure:
    """Settings that would have made a near miss a hit; false if there are none.

    `fields` are for CACHE_IGNORE_KEYS, `normalizers` (names and rules) for CACHE_NORMALIZE. `rebind`, `bind` and `mask`
    are CACHE_REBIND=on, CACHE_BIND and CACHE_IMAGE_MASK. Where there are none, `reason` says why.
    """

    fields: tuple[str, ...] = ()
    normalizers: tuple[str, ...] = ()
    rebind: bool = False
    bind: str = ""
    mask: str = ""
    reason: str = CHANGED

    def __bool__(self) -> bool:
        return bool(self.settings)

    def __str__(self) -> str:
        return " ".join(f"{variable}={text}" for variable, text in self.settings.items())

    @property
    def settings(self) -> dict[str, str]:
        """The texts of the settings, by variable."""
        texts = {
            "CACHE_IGNORE_KEYS": ",".join(self.fields),
            "CACHE_NORMALIZE": ",".join(self.normalizers),
            "CACHE_REBIND": "on" if self.rebind else "",
            "CACHE_BIND": self.bind,
            "CACHE_IMAGE_MASK": self.mask,
        }
        return {variable: text for variable, text in texts.items() if text}


def find(cache: Cache, plan: Plan, asked: Side, stored: Side, key: str, *, pairs: Collection[Pair] = ()) -> Cure:
    """The fewest settings that make two requests equal, given that they differ in their bodies only.

    There are none if the answer stored under `key` could be wrong for the `asked` request. `pairs` are the pictures
    that differ. Blocks; raises StoreError.
    """
    entry = cache.store.get(key)
    if entry is None or not isinstance(plan.verdict, Controls):
        return Cure()
    if pairs and plan.format.answers_in_text and can_decode():
        cure = _of_pictures(cache, plan, entry, asked, stored, pairs=tuple(pairs))
        if cure is not None:
            return cure
    return _of_texts(cache.store, plan, entry, asked, stored)


def _of_pictures(
    cache: Cache, plan: Plan, entry: Entry, asked: Side, stored: Side, *, pairs: tuple[Pair, ...]
) -> Cure | None:
    """The mask or rule that makes the pictures equal, with what the texts need; None if no mask or rule helps.

    Call ids differ after a miss, and are equal once that is a hit. Requests that continue other chains of responses may
    be other steps, so their pictures say nothing.
    """
    if asked.body.get(plan.format.chain) != stored.body.get(plan.format.chain):
        return Cure(reason=FOLLOWS)
    setting = "; ".join(map(str, cache.screens.masks))
    suggestion = suggest([PictureMiss(cache.proxy_id, pairs)], pictures.finder(cache.store, asked.record), setting)
    if suggestion is None:
        return None
    asked = replace(asked, body=pictures.with_recorded(asked.body, stored.body, pairs))
    asked, stored = map(without_call_ids, (asked, stored))
    cure = Cure()
    if not _are_enough(plan.format, (), (asked.body, stored.body)):
        cure = _of_texts(cache.store, plan, entry, asked, stored)
        if not cure and cure.reason != _REBOUND:
            return cure
        if suggestion.caret:
            return Cure(reason=_TYPED)
    caret = (str(Rule.CARET),) if suggestion.caret else ()
    return replace(cure, mask=suggestion.mask, normalizers=(*cure.normalizers, *caret))


def _of_texts(store: RequestLog, plan: Plan, entry: Entry, asked: Side, stored: Side) -> Cure:
    assert isinstance(plan.verdict, Controls), "a bypass is not looked up"
    words = set(_differing_words(asked.body, stored.body))
    fields = candidates.fields(plan.format, asked.body, stored.body)
    asked, stored = (replace(side, body=remove_pointers(side.body, fields)) for side in (asked, stored))
    answer = _rebound(plan, entry, asked.body, stored.body, plan.verdict.bindings)
    if isinstance(answer, Refusal) and answer.cause in _UNSAFE:
        return Cure(reason=f"not rebound: {answer}")
    enough = _normalizers(store, asked, stored)
    if enough and not plan.format.answers_in_text:
        return Cure()  # a vector is made of every word
    if enough is not None and not _repeats(entry, words):
        return Cure(fields, enough)
    if _repeats(entry, words.difference(_differing_words(asked.body, stored.body))) or rebound.needs_state(plan):
        return Cure(reason=_REPEATED)  # a field that is left out is not rebound
    if isinstance(answer, Replayed):
        return Cure(fields, rebind=not plan.verdict.rebinds, reason=_REBOUND)
    if isinstance(answer, Refusal):
        return Cure(reason=f"not rebound: {answer}")
    return _binding(plan, entry, asked, stored, fields) or Cure(reason=CHANGED if enough is None else _REPEATED)


def _rebound(plan: Plan, entry: Entry, asked: Json, stored: Json, bindings: Bindings) -> Replayed | Refusal | None:
    """The result of rebinding the stored answer; None if the requests have different templates. Most have, and the
    parts that differ are enough to see it."""
    one, other = without_equal(asked, stored)
    if rebound.attempt(plan, entry, other, one, bindings) is None:
        return None
    return rebound.attempt(plan, entry, stored, asked, bindings)


def _binding(plan: Plan, entry: Entry, asked: Side, stored: Side, fields: tuple[str, ...]) -> Cure:
    """The bindings that rebinding lacks for this run, if nothing else is missing."""
    assert isinstance(plan.verdict, Controls)
    known, recorded = plan.verdict.bindings, rebound.recorded_bindings(entry)
    missing = {name: text for name, text in recorded.values.items() if name not in known.values}
    found = candidates.bindings(asked.body, stored.body, missing)
    bound = Bindings({**known.values, **found})
    if found and isinstance(_rebound(plan, entry, asked.body, stored.body, bound), Replayed):
        text = ",".join(f"{name}={value}" for name, value in found.items())
        return Cure(fields, rebind=not plan.verdict.rebinds, bind=text)
    return Cure()


def _normalizers(store: RequestLog, asked: Side, stored: Side) -> tuple[str, ...] | None:
    """The fewest normalisers with which two requests are equal, by name or as rules; None if none are enough."""
    if not _may_become_equal(asked, stored):
        return None
    pair = asked.body, stored.body
    if _are_enough(asked.format, _TEXT_NAMES, pair):
        return _fewest(asked.format, _TEXT_NAMES, pair)
    decoded = _with_pixels(store, asked, stored)
    if decoded and _are_enough(asked.format, _TEXT_NAMES, decoded):
        return (*_fewest(asked.format, _TEXT_NAMES, decoded), "image-pixels")
    named = (*_TEXT_NAMES, *candidates.rules(*_normalized(asked.format, _TEXT_NAMES, pair)))
    return _fewest(asked.format, named, pair) if _are_enough(asked.format, named, pair) else None


def _may_become_equal(asked: Side, stored: Side) -> bool:
    """Whether normalisers make at least the differing parts equal, pictures aside. For most misses they do not, and
    normalising whole requests would take ten times as long."""
    one, other = (with_media(body, lambda _: "") for body in without_equal(asked.body, stored.body))
    named = (*_TEXT_NAMES, *candidates.rules(*_normalized(asked.format, _TEXT_NAMES, (one, other))))
    return _are_enough(asked.format, named, (one, other))


def _fewest(format: Format, enough: tuple[str, ...], pair: tuple[Json, Json]) -> tuple[str, ...]:
    """No name, or one, if that is enough; else all but those that can be spared."""
    for few in ((), *((name,) for name in enough)):
        if _are_enough(format, few, pair):
            return few
    names = list(enough)
    for name in enough:
        if _are_enough(format, others := [other for other in names if other != name], pair):
            names = others
    return tuple(names)


def _are_enough(format: Format, names: Iterable[str], pair: tuple[Json, Json]) -> bool:
    one, other = _normalized(format, names, pair)
    return canonical_json.canonical(one) == canonical_json.canonical(other)


def _normalized(format: Format, names: Iterable[str], pair: tuple[Json, Json]) -> tuple[Json, Json]:
    one, other = pair
    for name in names:
        normalizer = _normalizer(name)
        one, other = normalizer.apply(format, one), normalizer.apply(format, other)
    return one, other


@functools.lru_cache(maxsize=100)
def _normalizer(text: str) -> normalizers.Normalizer:
    """Cached because compiling patterns is slow, and because `image-pixels` remembers the pictures it has seen."""
    [normalizer] = normalizers.normalizers(text)
    return normalizer


def _with_pixels(store: RequestLog, asked: Side, stored: Side) -> tuple[Json, Json] | None:
    """Both bodies with differing pictures replaced by digests of their pixels, which takes tens of milliseconds each.

    None if normalising leaves other differences, or if a picture is no longer stored.
    """
    differing = digests(asked.record.body) ^ digests(stored.record.body)
    if not 0 < len(differing) <= _MOST_PICTURES or not can_decode():
        return None
    blank = with_media(asked.body, lambda _: ""), with_media(stored.body, lambda _: "")
    if not _are_enough(asked.format, _TEXT_NAMES, blank):
        return None
    texts = {digest: asked.record.media.get(digest) or store.media(digest) for digest in differing}

    def decoded(body: Json) -> Json:
        with_pictures = with_media(body, lambda digest: texts.get(digest) or digest)
        return _normalizer("image-pixels").apply(asked.format, with_pictures)

    return decoded(asked.body), decoded(stored.body)


def _differing_words(asked: object, recorded: object) -> Iterator[str]:
    """The recorded words that differ between two bodies that a setting makes equal."""
    match asked, recorded:
        case dict(), dict():
            for name in recorded:
                yield from _differing_words(asked.get(name), recorded[name])
        case list(), list():
            for one, other in zip(asked, recorded, strict=False):
                yield from _differing_words(one, other)
        case str(), str() if asked != recorded:
            ours, theirs = _WORD.findall(asked), _WORD.findall(recorded)
            if len(ours) == len(theirs):
                yield from (word for word, other in zip(theirs, ours, strict=True) if word != other)
            else:  # a date may be spelled with more words: take all from the first difference to the last
                start = _shared(ours, theirs)
                yield from theirs[start : len(theirs) - _shared(ours[start:][::-1], theirs[start:][::-1])]
        case _ if asked != recorded:
            for text in walking.texts(recorded):
                yield from _WORD.findall(text)
            if isinstance(recorded, (int, float)) and not isinstance(recorded, bool):
                yield str(recorded)


def _shared(ours: list[str], theirs: list[str]) -> int:
    """How many words two lists share at their start."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(ours), len(theirs)))


def _repeats(entry: Entry, words: Iterable[str]) -> bool:
    """True if the answer holds one of the words, or cannot be read."""
    try:
        answer = answer_of(entry.format, entry.body, entry.shape)
    except FormatError:
        return True
    text = _ESCAPE.sub(" ", "\n".join(walking.texts(answer))).lower()
    spoken = set(_WORD.findall(text))
    return any(word in spoken or (len(word) >= _LONG_WORD and word in text) for word in map(str.lower, words))


def answer_of(format_name: str, body: bytes, shape: Shape) -> Json:
    """An answer as one JSON object, assembled if it was streamed. Raises FormatError."""
    return Answer(formats.by_name(format_name), shape, body).whole
