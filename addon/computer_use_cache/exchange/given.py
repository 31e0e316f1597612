"""Answers that a person gives in a model's place (`fork --answer`): the API's JSON, or a text that is put into it."""

from __future__ import annotations

from computer_use_cache.cache import rebound
from computer_use_cache.cache.plan import Plan
from computer_use_cache.diagnosis import request_record
from computer_use_cache.errors import CacheError, FormatError, RequestError
from computer_use_cache.exchange.decisions import Refuse, Serve
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.formats.base import Format, Json, dump, load_object
from computer_use_cache.models import NOTHING, Response, Skipped


def serve(shared: Shared, plan: Plan, given: str, now: float) -> tuple[Serve | Refuse, Plan]:
    """Store the answer that is given to a planned request, and serve it; and the prepared plan. Blocks."""
    cache = shared.cache
    plan = rebound.with_template(cache, rebound.prepare(cache, plan))
    try:
        body = dump(answer_of(plan.format, given, plan.model))
        entry = cache.judge(plan, Response(200, {"content-type": "application/json"}, body, 0.0, ended=True), now)
        if isinstance(entry, Skipped):
            return _refused(plan, entry.detail), plan
        entry = entry.costing(NOTHING)
        cache.keep(entry, now, request_record.record(cache, plan))
    except CacheError as error:
        return _refused(plan, str(error)), plan
    return shared.decider.share(plan, entry) or _refused(plan, f"it cannot be sent as {plan.shape}"), plan


def answer_of(format: Format, given: str, model: str) -> Json:
    """The API's answer. Raises FormatError if there can be none."""
    try:
        answer = load_object(given.encode())
    except FormatError:
        return format.text_answer(given, model)
    return answer if format.answered in format.opened_answer(answer) else format.text_answer(given, model)


def _refused(plan: Plan, why: str) -> Refuse:
    message = f"The answer given with `fork --answer` cannot be the answer of {plan.format.name}: {why}."
    return Refuse(RequestError(400, message), why=message)
