"""Plain English: no docstring, comment or README contains the turns of phrase that mark a translation."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
TICS = re.compile(r"\b(?:(?i:so many|what of|of which|but for|whoever|as it came|what is told)|is none)\b")
"""The last one only in small letters: `None` is Python's."""
LINE_STARTS = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING)


def is_program(path: Path) -> bool:
    return path.suffix == ".py" or (path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env python"))


PROGRAMS = [path for folder in ("addon", "tests", "scripts") for path in (CHECKOUT / folder).rglob("*")]
READMES = [CHECKOUT / folder / "README.md" for folder in (".", "addon", "scripts", "tests")]
FILES = sorted(filter(is_program, PROGRAMS)) + READMES


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The comments and docstrings of a program, or all of a text; each with its line."""
    if not is_program(path):
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        return
    with path.open("rb") as file:
        before = tokenize.ENCODING
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and before in LINE_STARTS):
                yield token.start[0], token.string
            before = token.type


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_prose_is_idiomatic(path: Path) -> None:
    assert [(line, found[0]) for line, text in prose(path) for found in TICS.finditer(" ".join(text.split()))] == []


def test_a_tic_is_found_in_docstrings_and_comments_only(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text('"""Waits for so\nmany."""\nX = "so many"  # but for this\nif X is None:\n    """Of which."""\n')
    found = [found[0] for _, text in prose(program) for found in TICS.finditer(" ".join(text.split()))]
    assert found == ["so many", "but for", "Of which"]
