"""Batches of embeddings: every input has an entry of its own, and only unknown inputs go upstream."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.plan import Plan
from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Json, dump, load_object
from computer_use_cache.formats.embeddings import Embeddings
from computer_use_cache.models import Absent, Cost, Entry, Response


@dataclass(frozen=True, slots=True)
class Batch:
    """A request for several embeddings.

    `parts` are the plans of its inputs in order, `known` the entries of those that are stored, by key. `unseen` is the
    request to send upstream for the others, None if all are known, and `forward` its body, unless that is the client's.
    """

    format: Embeddings
    plan: Plan
    parts: tuple[Plan, ...]
    known: dict[str, Entry]
    unseen: Json | None
    forward: bytes = b""

    @property
    def asked(self) -> dict[str, Plan]:
        """The plans of the inputs to ask upstream for, by key. An input that occurs twice is asked for once."""
        return {part.key: part for part in self.parts if part.key not in self.known}

    @property
    def is_whole(self) -> bool:
        """Whether upstream is asked for exactly what the client asked for."""
        return len(self.asked) == len(self.parts)


def open_batch(cache: Cache, plan: Plan, now: float) -> Batch | None:
    """The batch of a planned request, None if it is no batch.

    Computes a key and reads an entry for every input: call it off the event loop. Raises StoreError, and FormatError
    if a part of the request cannot be written as the client wrote it.
    """
    if not isinstance(plan.format, Embeddings) or not (inputs := plan.format.inputs(plan.body)):
        return None
    parts = _parts(cache, plan.format, plan, inputs)
    known = {part.key: entry for part in parts if (entry := _known(cache, part, now))}
    unseen = [one for one, part in zip(inputs, parts, strict=True) if part.key not in known]
    subset = plan.format.subset(load_object(plan.forward), unseen) if unseen else None
    batch = Batch(plan.format, plan, parts, known, subset)
    return batch if subset is None or batch.is_whole else dataclasses.replace(batch, forward=dump(subset))


def _known(cache: Cache, part: Plan, now: float) -> Entry | None:
    """The entry of one input, in the form that the batch asks for; None if it cannot be converted."""
    entry = cache.lookup(part, now)
    if isinstance(entry, Absent):
        return None
    try:
        return replace(entry, body=part.format.adapt_answer(entry.body, part.body, entry.asked_form))
    except FormatError:
        return None


def _parts(cache: Cache, format: Embeddings, plan: Plan, inputs: Sequence[Any]) -> tuple[Plan, ...]:
    return tuple(cache.plan_part(plan, format.single(plan.body, one)) for one in inputs)


def join_known(batch: Batch) -> Entry:
    """An entry for a batch whose inputs are all known, as old as the oldest of them. Raises FormatError."""
    oldest = min(batch.known.values(), key=lambda entry: entry.created_at)
    joined = replace(oldest, key=batch.plan.key, body=_join(batch, {}), asked_form=_asked_form(batch))
    return joined.costing(total(batch.known[part.key].cost for part in batch.parts))


def _asked_form(batch: Batch) -> str:
    """The form of the joined answer. Its parts have been converted as far as possible, so it is not converted again."""
    return next((entry.asked_form for entry in batch.known.values() if entry.asked_form), "")


def total(costs: Iterable[Cost]) -> Cost:
    """The cost of several answers as one call, which takes as long as the slowest of them."""
    costs = list(costs)
    prices = [cost.usd for cost in costs if cost.usd is not None]
    return Cost(
        sum(cost.input_tokens for cost in costs),
        sum(cost.output_tokens for cost in costs),
        sum(prices) if len(prices) == len(costs) else None,
        max((cost.seconds for cost in costs), default=0.0),
        any(cost.at_list_price for cost in costs),
    )


def _join(batch: Batch, new: dict[str, Json]) -> bytes:
    answers = new | {key: load_object(entry.body) for key, entry in batch.known.items()}
    return dump(batch.format.join([answers[part.key] for part in batch.parts]))


def complete(cache: Cache, batch: Batch, response: Response, now: float) -> tuple[bytes, list[Entry]]:
    """The answer to the whole batch, and the entries of the inputs that the upstream was asked for.

    Raises FormatError if the response does not answer what was asked.
    """
    assert batch.unseen is not None, "upstream was not asked"
    answer = load_object(response.body)
    batch.format.check_answer(answer)
    answers = batch.format.split(batch.unseen, answer)
    new = dict(zip(batch.asked, answers, strict=True))
    body = response.body if batch.is_whole else _join(batch, new)
    parts = (cache.judge(part, _alone(response, new[key]), now) for key, part in batch.asked.items())
    return body, [entry for entry in parts if isinstance(entry, Entry)]


def split_recorded(cache: Cache, plan: Plan, response: Response, at: float) -> list[Entry]:
    """The entries of a batch's inputs, from the recorded answer to all of them; empty for any other request.

    Raises FormatError if the response does not answer the request.
    """
    if not isinstance(plan.format, Embeddings) or not (inputs := plan.format.inputs(plan.body)):
        return []
    answers = plan.format.split(plan.body, load_object(response.body))
    parts = zip(_parts(cache, plan.format, plan, inputs), answers, strict=True)
    entries = (cache.judge(part, _alone(response, answer), at) for part, answer in parts)
    return [entry for entry in entries if isinstance(entry, Entry)]


def _alone(response: Response, answer: Json) -> Response:
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    return replace(response, headers=headers, body=dump(answer))
