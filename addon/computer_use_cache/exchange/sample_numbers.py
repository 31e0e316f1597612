"""Ordered samples: numbers the repetitions of a request within its run (cache/samples.py counts them)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from computer_use_cache.cache import rebound
from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.decisions import Ending, Fail, Refuse, ShareError
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.models import Bypass, Skip, Skipped
from computer_use_cache.setting_values import Samples

_RETRY_COUNT = "x-stainless-retry-count"
"""The header in which SDKs count their retries."""

_UNUSABLE = frozenset(
    (
        *(Skip.STATUS, Skip.LENGTH, Skip.CODING, Skip.CONTENT_TYPE, Skip.NOT_JSON, Skip.MALFORMED),
        *(Skip.ERROR, Skip.FAILED, Skip.UNFINISHED),
    )
)
"""Reasons that make an answer useless to the client too, so that it asks again."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The numbers that a request was given: pairs of a digest and the number counted for it."""

    run: str
    numbers: tuple[tuple[str, int], ...]


def is_ordered(shared: Shared, plan: Plan) -> bool:
    """Whether the request is one of its run's ordered samples: it names no sample, and its API answers in text."""
    is_asked = shared.cache.settings.samples is Samples.ORDERED and plan.route.controls.sample is None
    return is_asked and not isinstance(plan.verdict, Bypass) and plan.format.answers_in_text


def take(shared: Shared, plan: Plan) -> tuple[Plan, Turn]:
    """The plan for the sample whose turn it is. Computes: call it off the event loop.

    Both the exact request and its template are counted, because another run may hold other values.
    """
    plan = rebound.prepare(shared.cache, plan)
    run = plan.route.controls.run
    if isinstance(plan.verdict, Bypass):
        return plan, Turn(run, ())
    retries = is_retry(plan.route.request.headers)
    digests = (plan.key, plan.template.digest) if plan.template else (plan.key,)
    numbers = [shared.cache.samples.take(run, digest, is_retry=retries) for digest in digests]
    sample = shared.cache.plan_sample(plan, numbers[0], numbers[1] if plan.template else None)
    return sample, Turn(run, tuple(zip(digests, numbers, strict=True)))


def is_retry(headers: Mapping[str, str]) -> bool:
    """Whether an SDK marks this call as a retry."""
    return re.fullmatch(r"[1-9]\d*", headers.get(_RETRY_COUNT, "")) is not None


def end(shared: Shared, turn: Turn, ending: Ending) -> None:
    """Give the turn back if the client got no answer that it can use; the next identical request takes it."""
    if not is_answer(ending):
        for digest, number in turn.numbers:
            shared.cache.samples.give_back(turn.run, digest, number)


def is_answer(ending: Ending) -> bool:
    """Whether the client got an answer that it can use."""
    match ending:
        case Fail() | Refuse() | ShareError():
            return False
        case Skipped(reason=reason):
            return reason not in _UNUSABLE
    return True
