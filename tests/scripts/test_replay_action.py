"""The GitHub Action: its description, and what its script does on any machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import commands
from commands import run_module
from support import Upstream

ACTION = Path(__file__).parents[2] / ".github" / "actions" / "replay"
AGENT = """
import json, os, sys, urllib.request
for text in (f"In {os.getcwd()}: step 1?", os.environ.get("ASKS", "Which train goes to Bern?")):
    messages = [{"role": "system", "content": "You answer in one word."}, {"role": "user", "content": text}]
    body = json.dumps({"model": "m", "messages": messages}).encode()
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"})).close()
"""


def described() -> Any:
    return YAML(typ="safe").load((ACTION / "action.yml").read_text("utf-8"))


def test_the_action_is_described_as_github_reads_it() -> None:
    action = described()
    assert action.keys() == {"name", "description", "branding", "inputs", "runs"}
    assert all(given.keys() <= {"description", "required", "default"} for given in action["inputs"].values())
    assert action["runs"]["using"] == "composite"
    steps = action["runs"]["steps"]
    assert all(("uses" in step) is not ("run" in step) for step in steps)
    assert all(step["shell"] == "bash" for step in steps if "run" in step)
    expressions = re.findall(r"\$\{\{(.*?)\}\}", (ACTION / "action.yml").read_text("utf-8"))
    named = {name for text in expressions for name in re.findall(r"inputs\.([\w-]+)", text)}
    assert named == set(action["inputs"])
    assert not [step for step in steps if "${{" in step.get("run", "")], "an input is no part of a script"


def test_its_steps_run_what_is_there() -> None:
    install, replay, _ = described()["runs"]["steps"]
    assert (ACTION / re.findall(r"GITHUB_ACTION_PATH/([./]+)\[", install["run"])[0] / "pyproject.toml").is_file()
    [script] = re.findall(r'"\$GITHUB_ACTION_PATH/(\w+)"', replay["run"])
    assert os.access(ACTION / script, os.X_OK)
    used = set(re.findall(r"\$(?:\{)?([A-Z]+)\b", (ACTION / script).read_text("utf-8")))
    assert used == set(replay["env"])


@pytest.mark.skipif(sys.platform == "win32", reason="the script is for a POSIX shell")
def test_a_recording_is_replayed_elsewhere_and_what_changed_is_annotated(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, checkout = tmp_path / "recorded", tmp_path / "checkout"
    for folder in (recorded, checkout):
        folder.mkdir()
        (folder / "agent.py").write_text(AGENT)
    commands.isolate(monkeypatch, recorded)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert run_module("run", "--base-url", "--upstream", upstream.url, "--", "python", "agent.py").returncode == 0
    assert run_module("export", "--run", "last", str(checkout / "agent.jsonl")).returncode == 0
    asked = len(upstream.asked)
    commands.isolate(monkeypatch, checkout)
    given = {"RECORDING": "agent.jsonl", "RUN": "last", "REPORT": str(tmp_path / "report.html")}

    environment = os.environ | given | {"ASKS": "Which train goes to Basel?"}
    done = subprocess.run([ACTION / "replay"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    [drift] = re.findall(r"^::warning .*", done.stdout, re.MULTILINE)
    assert re.match(r"::warning file=agent\.jsonl,title=step 2.*::.*Bern.*%0A.*Basel", drift), drift
    assert (tmp_path / "report.html").is_file(), "a drift is what the report is for"
    assert len(upstream.asked) == asked, "nothing went upstream"
