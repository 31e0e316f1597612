"""Progress of long work, shown on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn


def working(description: str) -> AbstractContextManager[object]:
    """Say on standard error what is being done, as long as this context lasts."""
    return Console(stderr=True).status(description) if sys.stderr.isatty() else nullcontext()


def with_count[T](items: Iterable[T], description: str) -> Iterator[T]:
    """Pass the items through, counting them on standard error."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        yield from progress.track(items, total=None, description=description)
