"""`report`, as a user types it."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest

import commands
from computer_use_cache.cli import main
from computer_use_cache.run_models import Run
from computer_use_cache.settings import Settings
from computer_use_cache.store.opening import open_store
from report import made_runs


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Run]:
    """Two runs in the store of this folder, the older one first."""
    commands.isolate(monkeypatch, tmp_path)
    store = open_store(Settings.load({}))
    made = []
    for id, word in (("a1", "Monday"), ("b2", "Tuesday")):
        asked = {"model": "m", "input": [{"role": "user", "content": f"What is due on {word}, project ACME-7?"}]}
        message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Nothing."}]}
        answer = {"id": "r", "status": "completed", "output": [message], "usage": None}
        made.append(made_runs.add_run(store, id, [(asked, answer)], name=f"agent {word}"))
    store.close()
    return made


def test_the_last_run_is_written_into_this_folder(runs: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"]) == 0
    assert capsys.readouterr().out == "run-b2.html (0.0 MB)\n"
    assert "<h1>agent Tuesday</h1>" in Path("run-b2.html").read_text(encoding="utf-8")


def test_two_runs_are_written_to_a_file_and_shown(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert main(["report", "last~1", "b", "-o", "both.html", "--open", "--redact", r"ACME-\d", "--redact", "due"]) == 0
    text = Path("both.html").read_text(encoding="utf-8")
    assert text.index("<h1>agent Monday</h1>") < text.index("<h1>agent Tuesday</h1>")
    assert "ACME-7" not in text
    assert opened == [Path("both.html").resolve().as_uri()]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("zz",), 2, "there is no run 'zz'"),
        (("last", "last", "last"), 2, "a page shows one run or two"),
        (("--redact", "("), 2, "not a regular expression"),
        (("-o", "missing/run.html"), 1, "cannot write missing/run.html: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_said(
    runs: list[Run], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, told: str
) -> None:
    assert main(["report", *words]) == status
    assert told in capsys.readouterr().err
