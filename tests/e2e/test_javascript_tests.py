"""The global setup that the documentation gives to vitest and jest, in a plain Node program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import commands
from support import FAKE_KEY, Upstream

REFERENCE = Path(__file__).parents[2] / "addon" / "README.md"
TESTS = """
import { spawnSync } from "node:child_process";
import setup from "./llm-cache.mjs";

await setup();
const worker = `
    fetch(process.env.OPENAI_BASE_URL + "/chat/completions", {
        method: "POST",
        headers: { authorization: "Bearer " + process.env.OPENAI_API_KEY, "content-type": "application/json" },
        body: JSON.stringify({ model: "m", messages: [{ role: "user", content: process.cwd() }] }),
    }).then((answer) => console.log(answer.status, answer.headers.get("x-computer-use-cache")))
`;
for (const _ of [1, 2]) spawnSync(process.execPath, ["-e", worker], { stdio: "inherit" });
"""


@pytest.mark.skipif(not shutil.which("node"), reason="Node is not installed")
def test_tests_in_javascript_find_the_cache_and_end_it(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.isolate(monkeypatch, tmp_path)
    [setup] = re.findall(r"^```js\n(// llm-cache\.mjs.*?)^```$", REFERENCE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "llm-cache.mjs").write_text(setup)
    (tmp_path / "tests.mjs").write_text(TESTS)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("UPSTREAM_BASE_URL", upstream.url)
    monkeypatch.setenv("OPENAI_API_KEY", FAKE_KEY)
    told = []
    for in_ci in ("", "1"):
        monkeypatch.setenv("CI", in_ci)
        # `run` returns once the cache has ended too: it holds the other end of standard error.
        done = subprocess.run(["node", "tests.mjs"], capture_output=True, text=True, check=False, timeout=60)
        told.append((done.stdout.split("\n")[:-1], done.returncode))
        upstream.stop()
    assert told == [(["200 MISS", "200 HIT"], 0), (["200 HIT", "200 HIT"], 0)], done.stderr
