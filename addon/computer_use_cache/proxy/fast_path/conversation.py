"""One client connection on the fast path, without I/O: bytes in, answers out.

It answers one request after another. The first one that is not a hit ends the conversation: the caller gets the bytes
back, unchanged, and passes them to mitmproxy. `protocol.py` runs conversations on a socket, `client_layer.py` inside
mitmproxy's layers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.decisions import Postpone
from computer_use_cache.proxy.fast_path.lookup import Admitted, Arrival, FastPath, Hit
from computer_use_cache.proxy.fast_path.reader import RequestReader, Step


@dataclass(slots=True)
class Search:
    """A request to find the answer to, and what was found: a hit, the plan of a request without one, or nothing. It is
    POSTPONEd if only `run` may find it."""

    fast_path: FastPath
    admitted: Admitted
    body: bytes
    found: Hit | Plan | Literal[Postpone.POSTPONE] | None = None

    def run(self) -> None:
        """Blocks: call it in a thread."""
        self.found = self.fast_path.find(self.admitted, self.body)


def search_quickly(searches: Sequence[Search]) -> None:
    """Run searches on the event loop, and postpone those that would take long.

    Each step is taken for all of them before the next one, because code and data that were just used are still in the
    processor's caches: a search takes two thirds of the time when there are 16. If one fails, all find nothing.
    """
    try:
        now = time.time()
        plans = [one.fast_path.plan_quickly(one.admitted, one.body) for one in searches]
        decisions = [
            one.fast_path.decide_quickly(plan, now) if isinstance(plan, Plan) else plan
            for one, plan in zip(searches, plans, strict=True)
        ]
        for one, plan, decision in zip(searches, plans, decisions, strict=True):
            if decision is Postpone.POSTPONE:
                one.found = decision
            elif isinstance(plan, Plan):
                one.found = one.fast_path.hit(len(one.body), plan, decision, now)
    except Exception as error:
        searches[0].fast_path.failures.failed(error)


@dataclass(frozen=True, slots=True)
class HandOver:
    """mitmproxy takes over, beginning with these bytes. `search` is that of the request in them, if there was one."""

    pieces: tuple[bytes, ...]
    search: Search | None = None


type Action = bytes | Search | HandOver
"""Send bytes to the client, run a search, or hand over."""


class Conversation:
    """`fast_path` returns the fast path while it is open, else None."""

    def __init__(self, arrival: Arrival | None, fast_path: Callable[[], FastPath | None]) -> None:
        self._reader = RequestReader(arrival)
        self._fast_path = fast_path

    @property
    def is_between_requests(self) -> bool:
        """True if every byte received so far has been answered."""
        return self._reader.is_empty

    def end(self) -> HandOver:
        """End the conversation before a request is complete."""
        return HandOver(self._reader.give_up())

    def hold(self, data: bytes) -> None:
        """Keep bytes that were received during a search."""
        self._reader.hold(data)

    def receive(self, data: bytes) -> Iterator[Action]:
        """Handle received bytes. Each action must be done before the next one is asked for."""
        while data:
            fast_path = self._fast_path()
            step = self._reader.feed(data, fast_path)
            if step is Step.INCOMPLETE:
                return
            if fast_path is None or step is Step.FOREIGN:
                yield self.end()
                return
            assert self._reader.admitted
            admitted, body = self._reader.admitted, self._reader.body()
            answer = fast_path.known(admitted, body)
            if answer is None:
                search = Search(fast_path, admitted, body)
                yield search
                if isinstance(search.found, Hit):
                    answer = fast_path.serve(search.found, admitted, body)
                if answer is None:
                    yield HandOver(self._reader.give_up(), search)
                    return
            data = self._reader.done()
            yield answer
