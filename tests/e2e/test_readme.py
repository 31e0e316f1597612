"""What the README says to type works as pasted, in its order, in a fresh clone and a bare environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands import free_port
from support import FAKE_KEY, Upstream

CHECKOUT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"^```sh\n(.*?)^```$", (CHECKOUT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
DEMO, FIRST_HIT, INSTALL = BLOCKS

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell"),
    pytest.mark.skipif(not shutil.which("git"), reason="git is not installed"),
]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of this checkout's last commit, with the files as they are now."""
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(folder)], check=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)
    return folder


def bare_environment(home: Path, **variables: str) -> dict[str, str]:
    """Almost nothing is set. pip keeps its own settings: without them it may find no packages."""
    home.mkdir(exist_ok=True)
    pips = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    interpreter = str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
    return {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHON": interpreter} | pips | variables


def paste(text: str, folder: Path, environment: dict[str, str]) -> str:
    """The output of a shell that reads `text` as typed, and stops what it started at the end."""
    script = f"trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{text}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=800, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_and_the_first_hit(clone: Path, upstream: Upstream, tmp_path: Path) -> None:
    """A stand-in takes the provider's place, and a free port that of 8000."""
    assert len(FIRST_HIT.splitlines()) == 4
    port = str(free_port())
    text = (DEMO + FIRST_HIT).replace("https://api.openai.com/v1", upstream.url).replace(":8000/", f":{port}/")
    environment = bare_environment(tmp_path / "home", PORT=port, UPSTREAM_API_KEY=FAKE_KEY)
    output = paste(text, clone, environment)
    assert "4 of the second run's 4 calls were answered from disk" in output
    assert (clone / "computer-use-cache-demo.html").is_file()
    told = [line for line in output.splitlines() if line.lower().startswith("x-comp")]
    outcomes = [line.partition(": ")[2] for line in told if line.startswith("X-Computer-Use-Cache:")]
    assert outcomes == ["MISS", "HIT"]
    assert "X-Computer-Use-Cache-Store: stored" in told
    assert len(upstream.asked) == 1
    assert upstream.asked[0].headers["authorization"] == f"Bearer {FAKE_KEY}"
    assert upstream.asked[0].json()["messages"][0]["content"] == "Say hi."


@pytest.mark.parametrize("line", INSTALL.splitlines())
def test_the_command_can_be_installed_from_the_checkout(line: str, clone: Path, tmp_path: Path) -> None:
    tool = line.split(maxsplit=1)[0]
    program = shutil.which(tool, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not program:
        pytest.skip(f"{tool} is not installed")
    places = {name: str(tmp_path / name) for name in ("PIPX_HOME", "PIPX_BIN_DIR", "UV_TOOL_DIR", "UV_TOOL_BIN_DIR")}
    environment = bare_environment(tmp_path / "home", **places)
    environment["PATH"] = f"{Path(program).parent}{os.pathsep}{environment['PATH']}"
    environment |= {
        "PIPX_DEFAULT_PYTHON": environment["PYTHON"],
        "PIP_CONSTRAINT": str(clone / "scripts/constraints.txt"),
    }
    paste(line, clone, environment)
    installed = next(tmp_path.glob("*_BIN_DIR/computer-use-cache"))
    told = subprocess.run(
        [installed, "doctor", "--json"], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert json.loads(told.stdout)
