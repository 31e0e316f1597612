"""The addon from an installed wheel: the same as from a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support import Upstream, running_proxy

CHECKOUT = Path(__file__).parents[2]


def pip(*arguments: str) -> None:
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([sys.executable, "-m", "pip", *arguments, *quiet], check=True, timeout=100)


def test_the_entry_of_an_installed_wheel_serves(tmp_path: Path, upstream: Upstream) -> None:
    pip("wheel", str(CHECKOUT), "--wheel-dir", str(tmp_path))
    [wheel] = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    pip("install", str(wheel), "--target", str(site))
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "computer_use_cache", "entry-path"]
    told = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    entry = Path(told.stdout.strip())
    assert entry == site / "computer_use_cache_addon.py"
    with running_proxy(tmp_path, upstream.url, entry=entry, PYTHONPATH=str(site)) as proxy:
        assert [proxy.chat().cache, proxy.chat().cache] == ["MISS", "HIT"]
