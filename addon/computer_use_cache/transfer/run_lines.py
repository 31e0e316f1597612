"""Runs as JSON lines of an export: one line per run, with its calls. Lines that are read back may have been edited."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from computer_use_cache import formats
from computer_use_cache.credentials import detection
from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Json, dump
from computer_use_cache.models import Skipped
from computer_use_cache.run_models import Call, Run
from computer_use_cache.store.base import CALLS_OF_RUN, RunLog

MEMBER = "run"
"""The member that only the line of a run has; the line of an entry does not."""
_ID = re.compile(r"[0-9a-z]{1,40}")
_PARENT = re.compile(r"[0-9a-z]{0,40}")
_KEY = re.compile(r"([0-9a-f]{64})?")
_LARGEST = 2**53
"""The largest integer that every reader of JSON reads exactly."""
_LAST_TIME = 253_402_300_799.0
"""The end of the year 9999."""


@dataclass(frozen=True, slots=True)
class ExportedRun:
    """A run from an export, checked, with its calls."""

    run: Run
    calls: tuple[Call, ...]


def lines(log: RunLog, runs: Iterable[Run]) -> Iterator[bytes]:
    """The lines of these runs. Raises StoreError."""
    for run in runs:
        line = {MEMBER: msgspec.to_builtins(run), "calls": msgspec.to_builtins(log.calls(run.id))}
        yield dump(line) + b"\n"


def read(line: Json) -> ExportedRun | Skipped:
    """The run in a line. Raises FormatError."""
    try:
        run = msgspec.convert(line[MEMBER], Run)
        calls = msgspec.convert(line.get("calls"), tuple[Call, ...])
    except msgspec.ValidationError as error:
        raise FormatError(f"the run is malformed: {error}") from None
    parents = (run.parent, *(fork.run for fork in run.forks))
    if not _ID.fullmatch(run.id) or not all(map(_PARENT.fullmatch, parents)):
        raise FormatError("the run's id or its parent's is malformed")
    if not all(_KEY.fullmatch(key) for call in calls for key in _keys(call)):
        raise FormatError("a key of the run is malformed")
    if not all(_is_time(number) for number in (run.began, run.ended, *(n for call in calls for n in _times(call)))):
        raise FormatError("a time of the run is malformed")
    if not all(0 <= number <= _LARGEST for number in _numbers(run, calls)):
        raise FormatError("a number of the run is out of range")
    if not all(map(_is_argument, (run.folder, *run.command))):
        raise FormatError("the run's command cannot be run on this system")
    known = {format.name for format in formats.FORMATS}
    if unknown := next((call.format for call in calls if call.format not in known), None):
        raise FormatError(f"format {unknown!r} is not known")
    if any(map(detection.find_in_text, _texts(run, calls))):
        return Skipped("run holds a credential")
    return ExportedRun(run, calls)


def keep(log: RunLog, exported: ExportedRun) -> bool:
    """Store a run with its calls, marked as imported; False if the store has it already. Raises StoreError."""
    if log.run(exported.run.id):
        return False
    log.add_run(replace(exported.run, imported=True))
    log.add_calls(exported.run.id, exported.calls[:CALLS_OF_RUN])
    return True


def _keys(call: Call) -> tuple[str, str, str]:
    return call.key, call.asked, call.near_key


def _times(call: Call) -> tuple[float, float, float]:
    return call.at, call.seconds, call.cost.seconds


def _is_time(number: float) -> bool:
    return 0 <= number <= _LAST_TIME


def _numbers(run: Run, calls: Iterable[Call]) -> Iterator[float]:
    yield from (run.status or 0, *(fork.after for fork in run.forks))
    for call in calls:
        cost = call.cost
        yield from (call.status, call.rebound, cost.input_tokens, cost.output_tokens, cost.usd or 0.0)


def _is_argument(text: str) -> bool:
    """Whether the operating system accepts a text as a path or as an argument of a command."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _texts(run: Run, calls: Iterable[Call]) -> Iterator[str]:
    yield from (run.name, run.folder, " ".join(run.command), run.bindings)
    yield from (f"{name}={text}" for name, text in run.flags.items())
    yield from (fork.model for fork in run.forks)
    for call in calls:
        yield from (call.model, call.path, call.reason, call.near_place)
