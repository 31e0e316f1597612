"""`demo`: a real agent behind a real proxy, on any machine, whatever its user has set; and the page of both runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import commands


def test_the_demo_records_an_agent_replays_it_and_leaves_only_the_page_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.isolate(monkeypatch, tmp_path)
    (tmp_path / "tmp").mkdir()
    users_own = {
        "TMPDIR": str(tmp_path / "tmp"),
        "CACHE_MODE": "offline",
        "CACHE_DIR": "/nowhere",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "",
    }
    command = [sys.executable, "-m", "computer_use_cache", "demo", "-o", "page.html", "--no-open"]
    done = subprocess.run(command, env=os.environ | users_own, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    steps = re.findall(r"^  (\w+) +[\d.]+ m?s  (.*)$", done.stdout, re.MULTILINE)
    wanted = ["screenshot()", "click(190, 486)", "write_file({}/done.txt)", "The blue mug is in the cart."]
    assert steps == [
        (outcome, words.format(folder))
        for outcome, folder in (("MISS", "first"), ("HIT", "second"))
        for words in wanted
    ]
    assert "4 of the second run's 4 calls were answered from disk" in done.stdout
    assert "\x1b" not in done.stdout, "a pipe gets plain text"
    assert not list((tmp_path / "tmp").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"tmp", "page.html"}
    page = Path("page.html").read_text()
    assert all(words in page for words in ('data-type="image/png"', "click(190, 486)", "The blue mug is in the cart."))
