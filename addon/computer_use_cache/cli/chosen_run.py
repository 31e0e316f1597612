"""The run that a command is about."""

from __future__ import annotations

import click

from computer_use_cache.run_models import Run
from computer_use_cache.runs.finding import UnknownRun, find
from computer_use_cache.store.base import RunLog


def chosen_run(log: RunLog, name: str) -> Run:
    """The run that an argument names. Raises UsageError and StoreError."""
    try:
        return find(log, name)
    except UnknownRun as error:
        raise click.UsageError(str(error)) from None
