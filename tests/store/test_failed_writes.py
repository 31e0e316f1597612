"""A write to disk that fails, or never ends, leaves what was stored before."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from computer_use_cache.errors import StoreError
from computer_use_cache.store.disk import DiskStore
from computer_use_cache.store.sqlite import Database
from made import LIMIT, entry, large, put

TESTS = Path(__file__).parents[1]

OUTGROW = """
import resource
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, most))  # SQLite writes its log only when it commits
"""
BE_KILLED = """
import os, signal
from computer_use_cache.store.raw_disk import RawDisk
RawDisk.store = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
"""
REPLACE = """
import sys
from pathlib import Path
from computer_use_cache.errors import StoreError
from computer_use_cache.store.disk import DiskStore
from made import LIMIT, entry, large, put
store = DiskStore(Path(sys.argv[1]), LIMIT)
exec(sys.argv[2])
try:
    put(store, entry(1, body=large(2).body), None)
except StoreError:
    sys.exit(3)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no files and has no SIGKILL")
@pytest.mark.parametrize(
    ("ending", "status"), [(OUTGROW, 3), (BE_KILLED, -signal.SIGKILL)], ids=["a full disk", "a kill"]
)
def test_a_large_entry_survives_when_replacing_it_fails(tmp_path: Path, ending: str, status: int) -> None:
    with closing(DiskStore(tmp_path, LIMIT)) as store:
        put(store, large(1), None)
        paths = os.pathsep.join((str(TESTS), str(TESTS.parent / "addon")))
        program = [sys.executable, "-c", REPLACE, str(tmp_path), ending]
        assert subprocess.run(program, env={"PYTHONPATH": paths}, check=False).returncode == status
        assert store.get(large(1).key) == large(1)
        assert put(store, entry(1, body=b"small"), None) is True
        assert store.get(large(1).key) == entry(1, body=b"small")
        assert list(store.entries()) == [entry(1, body=b"small")]


def test_a_failed_batch_keeps_what_it_replaced_and_what_it_made_room_for(tmp_path: Path) -> None:
    database = Database(tmp_path, size_limit=350_000, eviction_policy="least-recently-stored")
    values = {f"{number:064x}": random.Random(number).randbytes(100_000) for number in range(3)}
    database.put((key, value, None, "") for key, value in values.items())

    def interrupted() -> Iterator[tuple[str, bytes, None, str]]:
        yield f"{0:064x}", b"new" * 50_000, None, ""
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="No space left"):
        database.put(interrupted())
    assert {key: database.read_file(key) for key in values} == values


def test_a_replaced_file_is_removed(tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path, LIMIT)) as store:
        for number in (1, 2, 3):
            put(store, entry(1, body=large(number).body), None)
        assert len(list(tmp_path.rglob("*.val"))) == 1
        assert store.get(entry(1).key) == entry(1, body=large(3).body)
