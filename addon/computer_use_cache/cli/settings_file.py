"""Adds settings to a file like the one that `init` writes: one NAME=VALUE per line, to be sourced by a shell."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import click

from computer_use_cache.diagnosis.causes import merged

_LINE = re.compile(r"\s*(?:#.*|(?:export\s+)?[A-Za-z_]\w*=.*)?")


def assignments(settings: Mapping[str, str]) -> str:
    """`VARIABLE=text`, quoted for a shell, for every setting."""
    return " ".join(f"{variable}={shlex.quote(text)}" for variable, text in settings.items())


def add(path: Path, settings: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """Merge settings with the values in the file, or else in the environment; returns the lines that were written."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if wrong := next((line for line in lines if not _LINE.fullmatch(line)), None):
        raise click.ClickException(f"{path} is not a file of settings: {wrong[:40]!r} is not NAME=VALUE")
    written = []
    for variable, text in settings.items():
        at = _place(lines, variable)
        present = environment.get(variable, "") if at is None else _value(lines[at])
        line = assignments(merged(({variable: present}, {variable: text})))
        if at is not None and lines[at] == line:
            continue
        if at is not None:
            lines[at] = line
        else:
            lines.insert(_after_default(lines, variable), line)
        written.append(line)
    if written:
        # Users put keys into it, so it is created with owner-only permissions.
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    return written


def _place(lines: list[str], variable: str) -> int | None:
    """The last line that sets the variable, which is the one that counts."""
    setting = re.compile(rf"\s*(?:export\s+)?{variable}=")
    return max((at for at, line in enumerate(lines) if setting.match(line)), default=None)


def _value(line: str) -> str:
    text = line.partition("=")[2]
    try:
        return "".join(shlex.split(text, comments=True)[:1])
    except ValueError:
        return text.strip()


def _after_default(lines: list[str], variable: str) -> int:
    """Below the default that `init` has written as a comment, or at the end."""
    return next((at + 1 for at, line in enumerate(lines) if line.startswith(f"#{variable}=")), len(lines))
