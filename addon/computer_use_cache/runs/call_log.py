"""A line per call while a proxy runs, on its standard output: for people in colour or plain, for machines as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import IO, NamedTuple

from computer_use_cache import formats
from computer_use_cache.errors import StoreError
from computer_use_cache.formats.answer import Answer
from computer_use_cache.memory import BoundedMemory
from computer_use_cache.run_models import Call, LineStyle
from computer_use_cache.runs import as_json, lines
from computer_use_cache.runs.steps import items_of
from computer_use_cache.store.base import EntryStore

_MOST = 100
"""At most this many calls of one flush get a line each."""
_MOST_REMEMBERED = 4096
_CODES = {"red": 31, "green": 32, "yellow": 33, "dim": 2}


class Recorded(NamedTuple):
    """A call with its run and the number of its step, None if the run is full."""

    call: Call
    run: str
    step: int | None


class CallLog:
    """Prints the calls of one proxy to `out`."""

    def __init__(self, store: EntryStore, style: LineStyle, out: IO[str]) -> None:
        self._store = store
        self._style = style
        self._out = out
        self._summaries = BoundedMemory[str, str](_MOST_REMEMBERED)

    @property
    def is_printed(self) -> bool:
        """Whether anybody reads it."""
        return self._style is not LineStyle.NONE

    def remember(self, key: str, did: str) -> None:
        """Note what the model did in the answer that is stored as `key`, which need not be read for it then."""
        self._summaries.put(key, did)

    def write(self, calls: Sequence[Recorded], dropped: int) -> None:
        """Print a line per call, at most a hundred, and then the number of the others, `dropped` ones included. Blocks.
        Once nobody reads `out` any more (`start | head`), nothing is printed."""
        if not self.is_printed:
            return
        try:
            self._print(calls, dropped)
        except OSError:
            self._style = LineStyle.NONE

    def _print(self, calls: Sequence[Recorded], dropped: int) -> None:
        for each in calls[:_MOST]:
            self._out.write(f"{self._line(each)}\n")
        if more := len(calls[_MOST:]) + dropped:
            self._out.write(json.dumps({"more": more}) if self._style is LineStyle.JSON else f"and {more:,} more calls")
            self._out.write("\n")
        self._out.flush()

    def _line(self, recorded: Recorded) -> str:
        call, did = recorded.call, self._summary(recorded.call)
        if self._style is LineStyle.JSON:
            return json.dumps({"run": recorded.run, "step": recorded.step, **as_json.of_call(call), "did": did})
        text = str(lines.line(call, recorded.step, did))
        if self._style is LineStyle.COLOUR:
            code = _CODES[lines.COLOURS[call.outcome]]
            text = text.replace(call.outcome, f"\x1b[{code}m{call.outcome}\x1b[0m", 1)
        return text

    def _summary(self, call: Call) -> str:
        """What the model did, "" if that is not stored."""
        if not call.key:
            return ""
        known = self._summaries.get(call.key)
        if known is None:
            try:
                entry = self._store.get(call.key)
            except StoreError:
                return ""
            answer = entry and Answer(formats.by_name(call.format), entry.shape, entry.body)
            known = lines.summarize(items_of(answer)) if answer else ""
            self._summaries.put(call.key, known)
        return known
