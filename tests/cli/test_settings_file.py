"""`--write` adds settings to a file and leaves everything else in it as it is."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest

from commands import isolate
from computer_use_cache.cli import main, settings_file

RULE = r"""s/(it's "\$x" )\d+/\1<n>/"""


@pytest.mark.parametrize(
    ("before", "settings", "environment", "after"),
    [
        (None, {"CACHE_REBIND": "on"}, {}, "CACHE_REBIND=on\n"),
        ("", {"CACHE_REBIND": "on"}, {"CACHE_REBIND": "off"}, "CACHE_REBIND=on\n"),
        ("A=1\n", {"CACHE_NORMALIZE": "dates"}, {}, "A=1\nCACHE_NORMALIZE=dates\n"),
        ("CACHE_NORMALIZE=uuids\nA=1\n", {"CACHE_NORMALIZE": "dates"}, {}, "CACHE_NORMALIZE=uuids,dates\nA=1\n"),
        ("export CACHE_NORMALIZE='uuids'  # ours\n", {"CACHE_NORMALIZE": "dates"}, {}, "CACHE_NORMALIZE=uuids,dates\n"),
        ("CACHE_NORMALIZE=dates\n", {"CACHE_NORMALIZE": "dates"}, {}, "CACHE_NORMALIZE=dates\n"),
        ("A=1", {"CACHE_NORMALIZE": "dates"}, {"CACHE_NORMALIZE": "uuids"}, "A=1\nCACHE_NORMALIZE=uuids,dates\n"),
        ("# text\n#CACHE_REBIND=off\n\nA=1\n", {"CACHE_REBIND": "on"}, {},
         "# text\n#CACHE_REBIND=off\nCACHE_REBIND=on\n\nA=1\n"),
        ("CACHE_IGNORE_KEYS=a\nCACHE_IGNORE_KEYS=b\n", {"CACHE_IGNORE_KEYS": "/c"}, {},
         "CACHE_IGNORE_KEYS=a\nCACHE_IGNORE_KEYS=b,/c\n"),
    ],
)  # fmt: skip
def test_settings_are_added_to_what_is_there(
    tmp_path: Path, before: str | None, settings: dict[str, str], environment: dict[str, str], after: str
) -> None:
    path = tmp_path / ".env"
    if before is not None:
        path.write_text(before)
    written = settings_file.add(path, settings, environment)
    assert path.read_text() == after
    assert bool(written) is (before != after)
    assert settings_file.add(path, settings, environment) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no POSIX shell")
def test_a_shell_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    for rule in ("dates", RULE):
        settings_file.add(path, {"CACHE_NORMALIZE": rule}, {})
    read = subprocess.run(
        ["sh", "-c", f'set -a; . {path}; printf %s "$CACHE_NORMALIZE"'], capture_output=True, text=True, check=True
    )
    assert read.stdout == f"dates,{RULE}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text('{"model": "m"}')
    with pytest.raises(click.ClickException, match="not a file of settings"):
        settings_file.add(path, {"CACHE_REBIND": "on"}, {})
    assert path.read_text() == '{"model": "m"}'


def test_nothing_is_written_where_nothing_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    isolate(monkeypatch, tmp_path)
    Path(".computer-use-cache").mkdir()
    assert main(["explain", "--summary", "--write"]) == 0
    assert "no setting would have helped" in capsys.readouterr().err
    assert not Path(".env").exists()
