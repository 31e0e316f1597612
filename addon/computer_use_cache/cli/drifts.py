"""Drifts in words: for people, and as annotations of GitHub Actions."""

from __future__ import annotations

from collections.abc import Iterator

from computer_use_cache.cli.settings_file import assignments
from computer_use_cache.runs.drift import Drift


def lines(drift: Drift) -> Iterator[str]:
    """What happened at a step, where it differs, and what would help."""
    yield f"step {drift.step}: {drift.reason}"
    if drift.place and drift.present != drift.recorded:
        yield f"  at {drift.place}"
        yield f"  recorded: {drift.recorded or 'nothing'}"
        yield f"  now:      {drift.present or 'nothing'}"
    if drift.settings:
        yield f"  a hit with {assignments(drift.settings)}"


def annotation(drift: Drift, file: str) -> str:
    """The command that has GitHub Actions annotate a file with a drift.

    https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
    """
    title, *rest = lines(drift)
    message = "\n".join(rest) or drift.reason
    return f"::warning file={_property(file)},title={_property(title)}::{_escaped(message)}"


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
