"""Forks of runs: the same command again, leaving the recorded path at one of its calls.

The calls before that one may only be answered from the store. The call itself goes to another model, or
gets an answer that a person wrote, and the calls after it are new. Calls are numbered as they arrive. A call that gets
no usable answer gives its number back, for the client's retry.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from computer_use_cache import formats
from computer_use_cache.cache import policy
from computer_use_cache.cache.plan import Plan
from computer_use_cache.cache.policy import Controls
from computer_use_cache.cache.samples import Samples
from computer_use_cache.errors import FormatError
from computer_use_cache.exchange.sample_numbers import is_retry
from computer_use_cache.formats.base import dump, load_object
from computer_use_cache.models import Request
from computer_use_cache.run_models import Fork, Run

_NAMESPACE = "x-cache-namespace"
_LONGEST_NAMESPACE = 200


@dataclass(frozen=True, slots=True)
class ForkedCall:
    """One call of a forked run.

    `request` replaces the client's. An `upstream_ban` that is not empty keeps it from going upstream. `answer`, if not
    empty, is what it is answered with. Its `number` is one of the `numbers` in use.
    """

    number: int
    numbers: Samples
    request: Request
    upstream_ban: str = ""
    answer: str = ""

    def restrict(self, plan: Plan) -> Plan:
        """The plan for this call, which may not go upstream if it comes before the fork."""
        if not self.upstream_ban:
            return plan
        controls = dataclasses.replace(plan.route.controls, upstream_ban=self.upstream_ban)
        verdict = controls if isinstance(plan.verdict, Controls) else plan.verdict
        return replace(plan, route=dataclasses.replace(plan.route, controls=controls), verdict=verdict)

    def give_back(self) -> None:
        """The call got no answer that its client can use."""
        self.numbers.give_back("", "", self.number)


class Forking:
    """The calls of one run. `forks` led to it, the oldest first.

    With `is_new`, the run is itself the last fork: the calls before the fork must be in the store, and the first call
    after them gets `answer`, unless that is empty. Otherwise the run is a replay.
    """

    def __init__(self, forks: Sequence[Fork], *, is_new: bool, answer: str = "") -> None:
        assert forks
        self._forks = forks
        self._is_new = is_new
        self._answer = answer
        self._numbers = Samples()

    def next(self, request: Request) -> ForkedCall:
        """The client's next call."""
        number = self._numbers.take("", "", is_retry=is_retry(request.headers))
        passed = [fork for fork in self._forks if fork.after < number]
        for fork in passed:
            if fork.model and number == fork.after + 1:
                request = with_model(request, fork.model)
        if passed:
            own = request.headers.get(_NAMESPACE, "")
            namespace = f"{passed[-1].namespace} {own}".rstrip()[:_LONGEST_NAMESPACE]
            request = replace(request, headers={**request.headers, _NAMESPACE: namespace})
        newest = self._forks[-1]
        is_before = self._is_new and number <= newest.after
        is_first = self._is_new and number == newest.after + 1
        return ForkedCall(
            number,
            self._numbers,
            request,
            upstream_ban=policy.FORK if is_before else "",
            answer=self._answer if is_first else "",
        )


def of_run(run: Run | None, answer: str) -> Forking | None:
    """The forking of a run; None if no fork led to it. `answer` is for the run's own fork."""
    if run is None or not run.forks:
        return None
    return Forking(run.forks, is_new=run.is_fork, answer=answer)


def with_model(request: Request, model: str) -> Request:
    """The request for another model. A body that is not JSON, such as a form, keeps its own."""
    found = formats.match(request.path)
    assert found is not None, request.path
    upstream, path = found[0].with_model(request.upstream, request.path, model)
    body = request.body
    with contextlib.suppress(FormatError):
        sent = load_object(body)
        if "model" in sent or (upstream, path) == (request.upstream, request.path):
            body = dump(sent | {"model": model})
    return replace(request, upstream=upstream, path=path, body=body)
