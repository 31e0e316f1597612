"""A disk that is full: calls are answered, `clear` makes room, and then answers are stored again. One that cannot be
written is named."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import commands
from computer_use_cache.errors import StoreError
from computer_use_cache.run_models import Run
from computer_use_cache.store.disk import DiskStore
from made import entry, put, record
from support import Asked, Proxy, Send, Upstream, completion, response, running_proxy

RUN = Run(id="1", name="agent", began=1.0, ended=2.0)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 4 MB, on which commands find the cache."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("no small file system can be mounted: that takes root on Linux")
    commands.isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("CACHE_DIR", str(folder / "store"))
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Answers are as long as their question says, and do not compress."""
    provider = Upstream()

    async def answer(asked: Asked, send: Send) -> None:
        size = int(json.loads(asked.body)["messages"][0]["content"].split()[1])
        text = base64.b64encode(random.Random(len(provider.asked)).randbytes(size)).decode()
        await send(response(json.dumps(completion(text)).encode()))

    provider.handler = answer
    yield provider
    provider.close()


def fill(proxy: Proxy, size: int) -> None:
    """Ask until an answer is not stored."""
    for number in range(2000):
        answer = proxy.chat(f"{number} {size}")
        assert answer.status == 200
        if answer.headers["x-computer-use-cache-store"].startswith("skipped"):
            return
    raise AssertionError("the disk did not become full")


def clear(*arguments: str) -> str:
    done = commands.run_module("clear", "--yes", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def proxy_on(disk: Path, upstream: Upstream) -> Iterator[Proxy]:
    with running_proxy(disk.parent, upstream.url, CACHE_DIR=str(disk / "store")) as proxy:
        yield proxy


@pytest.mark.parametrize("size", [4000, 30_000, 150_000], ids=["small answers", "large rows", "answers in files"])
@pytest.mark.parametrize("how", [(), ("--model", "gpt-test")], ids=["all", "by model"])
def test_a_full_disk_is_cleared_and_used_again(disk: Path, upstream: Upstream, size: int, how: tuple[str, ...]) -> None:
    with proxy_on(disk, upstream) as proxy:
        fill(proxy, size)
        assert [proxy.chat(f"{number} {size}").status for number in range(3)] == [200, 200, 200]
        assert "Removed" in clear("--url", f"http://127.0.0.1:{proxy.port}", *how)
        assert [proxy.chat("after 100").cache for _ in range(2)] == ["MISS", "HIT"]


def test_a_disk_that_is_full_at_the_start_is_cleared_without_a_proxy(disk: Path, upstream: Upstream) -> None:
    with proxy_on(disk, upstream) as proxy:
        fill(proxy, 30_000)
    with proxy_on(disk, upstream) as proxy:
        assert proxy.chat("0 30000").cache == "HIT"
        assert proxy.chat("new 30000").status == 200
    clear()
    with proxy_on(disk, upstream) as proxy:
        assert [proxy.chat("after 100").cache for _ in range(2)] == ["MISS", "HIT"]


def test_an_answer_can_be_taken_back_on_a_full_disk(disk: Path, upstream: Upstream) -> None:
    with proxy_on(disk, upstream) as proxy:
        fill(proxy, 30_000)
        hit = proxy.chat("0 30000")
        assert hit.cache == "HIT"
        assert proxy.chat("0 30000", {"X-Cache-Reject": hit.headers["x-computer-use-cache-key"]}).cache == "MISS"
        assert proxy.ask("GET", f"/cache/entries/{hit.headers['x-computer-use-cache-key']}").status in (200, 404)


@pytest.mark.parametrize("is_killed", [False, True], ids=["closed", "killed"])
def test_a_store_that_can_only_be_read_is_replayed(disk: Path, upstream: Upstream, is_killed: bool) -> None:
    with proxy_on(disk, upstream) as proxy:
        assert [proxy.chat(f"{size} {size}").cache for size in (100, 150_000)] == ["MISS", "MISS"]
        if not is_killed:
            proxy.stop()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with proxy_on(disk, upstream) as proxy:
        assert [proxy.chat(f"{size} {size}").cache for size in (100, 150_000, 100)] == ["HIT"] * 3
        miss = proxy.chat("new 100")
        assert (miss.status, miss.cache) == (200, "MISS")
        assert miss.headers["x-computer-use-cache-store"] == "skipped: the store cannot be written"
        proxy.log.wait_for("storing fails: the store in")
        assert proxy.ask("GET", "/readyz").status == 503


@contextlib.contextmanager
def mounted_for_reading(disk: Path, place: Path) -> Iterator[DiskStore]:
    """The store on the disk, which others can write to, as one that can only be read."""
    place.mkdir()
    subprocess.run(["mount", "--bind", disk, place], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    try:
        with contextlib.closing(DiskStore(place / "store", 2**20)) as reader:
            yield reader
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_store_that_is_mounted_for_reading_shows_what_others_write_to_it(disk: Path, tmp_path: Path) -> None:
    folder = disk / "store"
    with contextlib.closing(DiskStore(folder, 2**20)) as store:
        for number in range(3):
            put(store, entry(number), None, record(number, 1))
    with mounted_for_reading(disk, tmp_path / "mounted") as reader:
        assert [reader.get(entry(0).key) is not None for _ in range(3)] == [True] * 3
        with contextlib.closing(DiskStore(folder, 2**20)) as store:
            store.delete(entry(0).key)
            put(store, entry(7), None)
            assert [reader.get(entry(number).key) is not None for number in (0, 1, 7)] == [False, True, True]
            put(store, entry(8), None, record(8, 1))
            store.run_log.add_run(RUN)
            assert [reader.request(entry(number).key) for number in (1, 8)] == [record(1, 1), record(8, 1)]
            assert [run.id for run in reader.run_log.runs(9)] == [RUN.id]
            store.clear()
        assert [reader.get(entry(number).key) for number in (1, 7)] == [None, None]
        assert reader.request(entry(1).key) is None
        assert reader.run_log.runs(9) == []


@pytest.mark.parametrize("is_emptied", [False, True], ids=["missing", "not yet filled"])
def test_what_is_missing_in_a_store_that_can_only_be_read_is_empty(
    disk: Path, tmp_path: Path, is_emptied: bool
) -> None:
    folder, kept = disk / "store", entry(0)
    with contextlib.closing(DiskStore(folder, 2**20)) as store:
        put(store, kept, None, record(0, 1))
        (shard,) = (shard for shard in store._shards if shard.read_row(kept.key))
    for path in folder.rglob("*.db"):
        if path.parent != shard._folder:
            path.write_bytes(b"") if is_emptied else path.unlink()
    with mounted_for_reading(disk, tmp_path / "mounted") as reader:
        assert [reader.get(entry(number).key) for number in range(20)] == [kept, *[None] * 19]
        assert list(reader.entries()) == [kept]
        assert reader.size().entries == 1
        assert (reader.request(kept.key), reader.near((1,)), reader.misses()) == (None, [], [])
        assert (reader.counts(), reader.media("a"), reader.run_log.runs(9)) == ({}, None, [])
        for write in (
            lambda: put(reader, entry(1), None),
            lambda: reader.add_counts({"hits": 1}, {}),
            lambda: reader.add_miss(b""),
            lambda: reader.run_log.add_run(RUN),
        ):
            with pytest.raises(StoreError):
                write()
        with contextlib.closing(DiskStore(folder, 2**20)) as store:
            put(store, entry(1), None, record(1, 1))
            store.run_log.add_run(RUN)
            assert reader.get(entry(1).key) == entry(1)
            assert reader.request(entry(1).key) == record(1, 1)
            assert [run.id for run in reader.run_log.runs(9)] == [RUN.id]


@pytest.mark.parametrize(("mode", "is_enough"), [("readwrite", False), ("offline", True)])
def test_doctor_names_a_store_that_can_only_be_read(
    disk: Path, mode: str, is_enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    DiskStore(disk / "store", 2**20).close()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    monkeypatch.setenv("CACHE_MODE", mode)
    checks = json.loads(commands.run_module("doctor", "--json").stdout)["checks"]
    (store,) = (check for check in checks if check["name"] == "store")
    assert (store["ok"], "can only be read" in store["detail"]) == (is_enough, not is_enough)


def test_run_says_that_a_store_that_can_only_be_read_counts_nothing(disk: Path) -> None:
    DiskStore(disk / "store", 2**20).close()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    done = commands.run_module("run", "--", "true")
    assert done.returncode == 0
    assert "nothing was counted: " in done.stderr
    assert "readonly database" in done.stderr


def test_a_folder_that_cannot_be_written_is_named_at_the_start(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    done = commands.run_module("start")
    assert done.returncode == 1
    assert str(disk / "store") in done.stderr
    assert "CACHE_DIR" in done.stderr
    assert os.listdir(disk) == []
