"""One client connection on the fast path, without I/O: bytes in, answers out.

It answers one request after another. The first one that is not a hit ends the conversation: the caller gets the bytes
back, unchanged, and passes them to mitmproxy. `protocol.py` runs conversations on a socket, `client_layer.py` inside
mitmproxy's layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.decisions import Postpone
from computer_use_cache.proxy.fast_path.lookup import Admitted, Arrival, FastPath, Hit
from computer_use_cache.proxy.fast_path.reader import RequestReader, Step


@dataclass(slots=True)
class Search:
    """A request to find the answer to, and what was found: a hit, the plan of a request without one, or nothing."""

    fast_path: FastPath
    admitted: Admitted
    body: bytes
    found: Hit | Plan | None = None

    def run(self) -> None:
        """Blocks: call it in a thread."""
        self.found = self.fast_path.find(self.admitted, self.body)

    def run_quickly(self) -> bool:
        """Search on the event loop; False if that would take long, and `run` must be used."""
        found = self.fast_path.find_quickly(self.admitted, self.body)
        if found is Postpone.POSTPONE:
            return False
        self.found = found
        return True


@dataclass(frozen=True, slots=True)
class HandOver:
    """mitmproxy takes over, beginning with these bytes. `search` is that of the request in them, if there was one."""

    pieces: tuple[bytes, ...]
    search: Search | None = None


type Action = bytes | Search | HandOver
"""Send bytes to the client, run a search in a thread, or hand over."""


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
                if not search.run_quickly():
                    yield search
                if isinstance(search.found, Hit):
                    answer = fast_path.serve(search.found, admitted, body)
                if answer is None:
                    yield HandOver(self._reader.give_up(), search)
                    return
            data = self._reader.done()
            yield answer
