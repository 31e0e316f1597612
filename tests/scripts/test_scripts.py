"""The long-running checks of scripts/, each in small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks import figures

SCRIPTS = Path(__file__).parents[2] / "scripts"
SVG = "{http://www.w3.org/2000/svg}"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A script, run to its end."""
    script, *arguments = command
    return subprocess.run(
        [sys.executable, SCRIPTS / script, *arguments], capture_output=True, text=True, timeout=110, check=False
    )


def test_a_short_soak_gives_no_wrong_answer_and_loses_no_entry() -> None:
    done = run("soak", "--requests", "300", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["wrong_answers"], found["lost_entries"]) == (0, 0)
    assert found["upstream_faults"] > 5
    assert found["checked_entries"] > 20
    assert {"HIT", "MISS", "left", "failed (502)"} <= found["outcomes"].keys()
    assert sum(found["outcomes"].values()) == 300


def test_a_part_of_the_benchmark_gives_figures_with_verdicts_and_a_picture(tmp_path: Path) -> None:
    done = run("bench", "--quick", "--only", "recording", "--json", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert json.loads((tmp_path / "bench.json").read_text()) == found
    assert all(item["value"] > 0 and item["detail"] for item in found["figures"])
    with_goal = [item for item in found["figures"] if item["goal"]]
    assert {item["verdict"] for item in with_goal} <= {"reached", "missed"}
    bars = ElementTree.parse(tmp_path / "goals.svg").getroot().findall(f"{SVG}rect")
    assert len(bars) == 1 + len(with_goal)


def test_a_short_fuzzing_finds_nothing() -> None:
    done = run("fuzz", "--seconds", "3")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert len(rows) == 7
    assert all(int(inputs) >= 100 and int(taken) > 0 for _, inputs, taken, *_ in rows)


def test_systems_are_drawn_beside_each_other_with_the_fastest_first() -> None:
    rates = {"LiteLLM": {"100 agents": [30.0, 40.0, 50.0]}, "start": {"100 agents": [80.0], "S c=64": [9000.0]}}
    texts = [text.text for text in ElementTree.fromstring(figures.comparison(rates)).iter(f"{SVG}text")]
    assert texts[1:] == ["this cache, start", "80", "LiteLLM", "40"]


def test_setup_explains_itself_instead_of_installing_what_it_does_not_know(tmp_path: Path) -> None:
    environment = dict(os.environ) | {"VENV": str(tmp_path / "venv")}
    for word in ("--help", "development"):
        done = subprocess.run([SCRIPTS / "setup", word], capture_output=True, text=True, check=False, env=environment)
        assert (done.returncode, done.stdout) == (2, "")
        assert "scripts/setup dev" in done.stderr
    assert not (tmp_path / "venv").exists()
