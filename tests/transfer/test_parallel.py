"""A large export is read in several processes, with the same result as in one."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from commands import ADDON
from computer_use_cache.cache.cache import Cache
from computer_use_cache.errors import FormatError
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore
from computer_use_cache.transfer import jsonl, parallel
from computer_use_cache.transfer.recordings import Damaged, Exported, importing_cache, keep_all
from support import chat_request, completion

NOW = 1_700_000_000.0
ENVIRON = {"CACHE_MODEL_DENYLIST": "denied"}
HEADING = '{"computer_use_cache_export": 1}'


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setattr(parallel, "_LARGE", 0)
    monkeypatch.setattr(parallel, "_BATCH_BYTES", 4096)
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    return importing_cache(Settings.load(ENVIRON), DiskStore(tmp_path / "store", 2**30), loopback=True)


def line(number: int, **change: object) -> str:
    request = {"upstream": "http://127.0.0.1:9/v1", "path": "/chat/completions", "query": "", "headers": {}}
    entry = {
        "key": f"{number:064x}",
        "format": "chat_completions",
        "model": "gpt-test",
        "namespace": "",
        "created_at": NOW,
        "expires_at": None,
        "seconds": 1.0,
        "shape": "json",
        "with_usage": True,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(completion(str(number))),
        "chunks": [],
        "request": request | {"body": chat_request(str(number))},
    }
    return json.dumps(entry | change)


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_result_is_the_same_as_in_one_process(cache: Cache, tmp_path: Path) -> None:
    lines = [line(number) for number in range(100)]
    lines[10], lines[20], lines[30] = "{", line(20, model="denied"), line(30, shape="tape")
    path = written(tmp_path / "export", HEADING, *lines, '{"computer_use_cache_export": 2}', line(100))
    found = list(parallel.read(path, cache, ENVIRON))
    assert found == list(jsonl.read(path, cache))
    assert sum(isinstance(each, Exported) for each in found) == 97
    assert found[-1] == Damaged(f"{path}: line 102", "version 2 of an export is not supported")
    assert keep_all(cache, parallel.read(path, cache, ENVIRON), NOW).kept == 97
    with ThreadPoolExecutor(1) as thread:  # which cannot set what Ctrl+C does
        assert thread.submit(lambda: list(parallel.read(path, cache, ENVIRON))).result() == found


def test_a_killed_process_is_reported_and_what_was_read_before_is_kept(cache: Cache, tmp_path: Path) -> None:
    path = written(tmp_path / "export", HEADING, *map(line, range(2000)))
    found = parallel.read(path, cache, ENVIRON)
    assert isinstance(next(found), Exported)
    for child in multiprocessing.active_children():
        os.kill(child.pid or 0, signal.SIGKILL)
    with pytest.raises(FormatError, match="cannot be read to its end"):
        list(found)


def test_an_interrupt_while_a_process_starts_leaves_no_process_behind(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = SpawnProcess.start

    def start_interrupted(process: SpawnProcess) -> None:
        start(process)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(SpawnProcess, "start", start_interrupted)
    path = written(tmp_path / "export", HEADING, *map(line, range(100)))
    with pytest.raises(KeyboardInterrupt):
        list(parallel.read(path, cache, ENVIRON))
    left = multiprocessing.active_children()
    for child in left:
        child.kill()
    assert left == []


KILLED = """
import os, signal, sys
from pathlib import Path
from computer_use_cache.settings import Settings
from computer_use_cache.transfer import parallel
from computer_use_cache.transfer.recordings import importing_cache
parallel._LARGE, parallel._BATCH_BYTES, parallel.cores = 0, 4096, lambda: 2
found = parallel.read(Path(sys.argv[1]), importing_cache(Settings.load({}), None, loopback=True), {})
next(found)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_processes_end_with_an_import_that_is_killed(tmp_path: Path) -> None:
    path = written(tmp_path / "export", HEADING, *map(line, range(100)))
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, path],
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ADDON)},
    )
    try:
        assert killed.communicate(timeout=30)[0] == b"", "all that hold the pipe have ended"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(killed.pid, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
