"""Where the blocking work of the core runs. Its caller brings the threads and the clock."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol


class Run(Protocol):
    """Runs a function that blocks or computes off the event loop."""

    def __call__[**P, R](
        self, function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs
    ) -> Coroutine[Any, Any, R]:
        """Call the function with these arguments."""


@dataclass(frozen=True, slots=True)
class Runners:
    """How blocking work is run: `read` in any thread, `write` in the only thread that writes, `study` in the thread for
    studies of misses. `now` returns Unix seconds."""

    read: Run
    write: Run
    study: Run
    now: Callable[[], float]
