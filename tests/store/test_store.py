"""What every store does, checked on each of them; then what only the one on disk has to do."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import itertools
import os
import pickle
import random
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import diskcache
import pytest

from computer_use_cache.errors import StoreClosed, StoreError
from computer_use_cache.models import Entry, RequestRecord
from computer_use_cache.store.base import KEPT_MISSES, NEAR_CANDIDATES, NEWEST_OF_PART, Choice, Store
from computer_use_cache.store.disk import DiskStore
from computer_use_cache.store.disk_leases import DiskLeases
from computer_use_cache.store.media_store import Media
from computer_use_cache.store.raw_disk import RawDisk
from computer_use_cache.store.request_log import Requests
from made import LIMIT, Opener, entry, large, put, record

TESTS = Path(__file__).parents[1]
ADDON = TESTS.parent / "addon"
CROWDED_LIMIT = 2**23


def test_a_new_store_is_empty(store: Store) -> None:
    assert store.get(entry(1).key) is None
    assert list(store.entries()) == []
    assert store.size().entries == 0
    assert store.counts() == {}


@pytest.mark.parametrize("made", [entry(1), large(2), large(3, 3_000_000)], ids=["small", "large", "huge"])
def test_what_was_put_is_got(store: Store, made: Entry) -> None:
    assert put(store, made, None) is False
    assert store.get(made.key) == made


def test_a_second_entry_of_a_key_takes_the_place_of_the_first(store: Store) -> None:
    put(store, large(1), None)
    assert put(store, entry(1), None) is True
    assert store.get(entry(1).key) == entry(1)
    assert store.size().entries == 1


def test_a_deleted_entry_is_gone(store: Store) -> None:
    put(store, entry(1), None)
    put(store, entry(2), None)
    assert store.delete(entry(1).key) is True
    assert store.delete(entry(1).key) is False
    assert list(store.entries()) == [entry(2)]


def test_entries_come_newest_first(store: Store) -> None:
    for number in range(30):
        put(store, entry(number), None)
    put(store, entry(5, created_at=entry(31).created_at), None)
    keys = [found.key for found in store.entries()]
    assert keys == [entry(number).key for number in (5, *(number for number in reversed(range(30)) if number != 5))]


def test_every_entry_comes_once_whatever_its_age_when_it_was_put(store: Store) -> None:
    numbers = list(range(40))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        put(store, entry(number), None)
    assert sorted(found.key for found in store.entries()) == [entry(number).key for number in range(40)]


def test_entries_can_be_deleted_while_they_are_listed(store: Store) -> None:
    for number in range(20):
        put(store, entry(number), None)
    assert sum(store.delete(found.key) for found in store.entries()) == 20


def test_clear_removes_everything_but_the_counters(store: Store) -> None:
    store.add_counts({"hits": 1}, {})
    for number in range(20):
        put(store, entry(number), None)
    assert store.clear() == 20
    assert list(store.entries()) == []
    assert store.counts() == {"hits": 1}


def test_clear_removes_the_chosen_entries_only(store: Store) -> None:
    for number in range(20):
        put(store, entry(number), None)
    assert store.clear(lambda found: found.model == "model-1") == 10
    assert {found.model for found in store.entries()} == {"model-0"}
    assert store.clear(lambda found: False) == 0


def test_size_counts_entries_and_the_bytes_they_take(store: Store) -> None:
    before = store.size().bytes
    for number in range(5):
        put(store, large(number), None)
    assert store.size().entries == 5
    assert store.size().bytes - before >= 500_000


def test_entries_and_counters_survive_a_restart(open_store: Opener) -> None:
    first = open_store()
    put(first, entry(1), None)
    put(first, large(2), 3600.0)
    first.add_counts({"hits": 2}, {"last_updated_at": 7.5})
    first.close()
    again = open_store()
    assert list(again.entries()) == [large(2), entry(1)]
    assert again.counts() == {"hits": 2, "last_updated_at": 7.5}


def test_maintaining_drops_what_has_expired(store: Store) -> None:
    put(store, entry(1), 0.0)
    put(store, entry(2), 3600.0)
    put(store, entry(3), None)
    while store.get(entry(1).key):  # a server's clock has milliseconds
        pass
    store.maintain()
    assert {found.key for found in store.entries()} == {entry(2).key, entry(3).key}
    assert store.size().entries == 2


@pytest.fixture
def crowded(open_store: Opener) -> Store:
    """Half of 600 entries fit into it; the first ten were read, and the ten after them put again."""
    store = open_store()
    for number in range(600):
        put(store, large(number, 30_000), None)
    for number in range(10):
        store.get(entry(number).key)
        put(store, large(10 + number, 30_000), None)
    store.close()
    return open_store(CROWDED_LIMIT)


def test_maintaining_evicts_what_was_stored_longest_ago(crowded: Store) -> None:
    crowded.maintain()
    assert crowded.size().bytes <= CROWDED_LIMIT
    left = {int(found.key, 16) for found in crowded.entries()}
    assert len(left) > 100
    assert left.isdisjoint((*range(10), *range(20, 100)))
    assert left.issuperset((*range(10, 20), *range(550, 600)))


def test_counters_add_up_and_the_latest_only_rise(store: Store) -> None:
    store.add_counts({"hits": 1, "saved": 0.5}, {"last": 5.0})
    store.add_counts({"hits": 2, "saved": 0.25}, {"last": 3.0})
    store.add_counts({"models\t\u00e9 '%\thits": 1}, {"last": 4.0})
    assert store.counts() == {"hits": 3, "saved": 0.75, "last": 5.0, "models\t\u00e9 '%\thits": 1}


def test_counters_change_together_or_not_at_all(store: Store) -> None:
    with pytest.raises((TypeError, StoreError)):
        store.add_counts({"hits": 1, "misses": "two"}, {})  # type: ignore[dict-item]
    assert store.counts() == {}


def test_probing_leaves_no_trace(store: Store) -> None:
    store.probe()
    assert store.counts() == {}
    assert store.size().entries == 0


@dataclasses.dataclass(frozen=True)
class Interrupting(Choice):
    """Chooses everything, and interrupts the store."""

    interrupt: Callable[[], None] = lambda: None

    def __call__(self, entry: Entry) -> bool:
        self.interrupt()
        return True


def test_work_that_is_interrupted_stops_and_says_so(store: Store) -> None:
    for number in range(20):
        put(store, entry(number), None)
    with pytest.raises(StoreClosed):
        store.clear(Interrupting(interrupt=store.interrupt))
    for work in (store.clear, store.maintain):
        with pytest.raises(StoreClosed):
            work()


def test_many_threads_use_one_store(store: Store) -> None:
    numbers = count()
    failures: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(25):
                number = next(numbers)
                put(store, entry(number), None)
                assert store.get(entry(number).key) == entry(number)
                store.add_counts({"hits": 1}, {})
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.size().entries == 100
    assert store.counts() == {"hits": 100}


# -- on disk

FOLDER = "store"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskStore]:
    store = DiskStore(tmp_path / FOLDER, LIMIT)
    yield store
    store.close()


def databases(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / FOLDER / "entries").glob("[0-9]/cache.db"))


def execute(tmp_path: Path, statement: str, *values: object) -> int:
    """Run a statement on every database of entries; how many rows it changed."""
    changed = 0
    for database in databases(tmp_path):
        connection = sqlite3.connect(database)
        with connection:
            changed += connection.execute(statement, values).rowcount
        connection.close()
    return changed


WRITER = """
import sys
from msgspec.structs import replace
from pathlib import Path
from computer_use_cache.models import Entry, Shape
from computer_use_cache.store.disk import DiskStore
from made import put

store = DiskStore(Path(sys.argv[1]), 2**25)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 60):
    entry = Entry(f"{number:064x}", "f", Shape.JSON, "m", "", (), b"x" * 100, float(number), None, 1.0)
    put(store, entry, None)
    put(store, replace(entry, key="f" * 64), None)
    assert store.get(entry.key) == entry
    store.add_counts({"hits": 1}, {"last": float(number)})
store.close()
"""


def test_a_copy_in_memory_is_given_until_anything_changes_the_database(tmp_path: Path, disk: DiskStore) -> None:
    key = entry(1).key
    with contextlib.closing(DiskStore(tmp_path / FOLDER, LIMIT)) as other, ThreadPoolExecutor(1) as thread:
        changes: list[Callable[[DiskStore], object]] = [
            lambda store: put(store, entry(1, body=b"new"), None),
            lambda store: store.delete(key),
            lambda store: store.clear(),
        ]
        writers: list[Callable[[Callable[[DiskStore], object]], object]] = [
            lambda change: change(disk),
            lambda change: thread.submit(change, disk).result(),
            lambda change: change(other),
        ]
        for change, write in itertools.product(changes, writers):
            put(disk, entry(1), None)
            read_in_thread = thread.submit(disk.get, key).result()
            copy = disk.get(key)
            assert copy == entry(1)
            assert copy is not read_in_thread, "another connection reads for itself"
            assert disk.get(key) is copy
            write(change)
            assert disk.get(key) == (entry(1, body=b"new") if change is changes[0] else None)
            disk.clear()
        put(disk, entry(2), 0.05)
        assert set(itertools.takewhile(bool, iter(lambda: disk.get(entry(2).key), ()))) <= {entry(2)}


def test_processes_may_write_to_one_folder_at_the_same_time(tmp_path: Path, disk: DiskStore) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / FOLDER), str(start)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": f"{ADDON}{os.pathsep}{TESTS}"},
        )
        for start in (0, 1000)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert disk.size().entries == 121
    assert disk.counts() == {"hits": 120, "last": 1059.0}


_OPEN_AND_CLOSE = """
import sys
from pathlib import Path
from computer_use_cache.store.disk import DiskStore
DiskStore(Path(sys.argv[1]), 2**25).close()
"""


def test_what_is_put_stays_when_another_process_has_opened_the_folder_and_closed_it(tmp_path: Path) -> None:
    with contextlib.closing(DiskStore(tmp_path, LIMIT)) as store:
        DiskStore(tmp_path, LIMIT).close()  # as mitmproxy does when an option changes
        subprocess.run([sys.executable, "-c", _OPEN_AND_CLOSE, tmp_path], env={"PYTHONPATH": str(ADDON)}, check=True)
        put(store, entry(1), None)
        with contextlib.closing(DiskStore(tmp_path, LIMIT)) as other:
            assert other.get(entry(1).key) == store.get(entry(1).key) == entry(1)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.file)!r}, 'w').close()",)


@pytest.mark.parametrize("mode", [diskcache.core.MODE_RAW, diskcache.core.MODE_TEXT, diskcache.core.MODE_PICKLE])
def test_a_pickled_row_is_a_miss_and_is_not_unpickled(tmp_path: Path, disk: DiskStore, mode: int) -> None:
    put(disk, entry(1), None)
    sprung = tmp_path / "sprung"
    pickled = pickle.dumps(Trap(sprung))
    assert execute(tmp_path, "UPDATE Cache SET mode = ?, value = ?", mode, pickled) == 1
    assert disk.get(entry(1).key) is None
    assert list(disk.entries()) == []
    assert not sprung.exists()


@pytest.mark.parametrize("mode", [diskcache.core.MODE_BINARY, diskcache.core.MODE_TEXT, diskcache.core.MODE_PICKLE])
def test_a_row_that_does_not_say_it_holds_bytes_is_a_miss(tmp_path: Path, disk: DiskStore, mode: int) -> None:
    put(disk, entry(1), None)
    assert execute(tmp_path, "UPDATE Cache SET mode = ?", mode) == 1
    assert disk.get(entry(1).key) is None
    assert list(disk.entries()) == []


def test_a_pickled_key_is_not_unpickled(tmp_path: Path, disk: DiskStore) -> None:
    put(disk, entry(1), None)
    sprung = tmp_path / "sprung"
    assert execute(tmp_path, "UPDATE Cache SET key = ?, raw = 0", pickle.dumps(Trap(sprung))) == 1
    put(disk, entry(2), None)
    assert disk.get(entry(1).key) is None
    assert disk.get(entry(2).key) == entry(2)
    with contextlib.suppress(StoreError):
        list(disk.entries())
    assert disk.clear() == 2
    assert not sprung.exists()


@pytest.mark.parametrize("value", [{"a": 1}, "text", None, (1,)])
def test_what_would_be_pickled_is_not_written(tmp_path: Path, value: object) -> None:
    with diskcache.Cache(str(tmp_path / "raw"), disk=RawDisk) as raw:
        with pytest.raises(TypeError):
            raw.set("key", value)
        with pytest.raises(TypeError):
            raw.set((1, 2), b"value")
        assert len(raw) == 0


@pytest.mark.parametrize("made", [entry(1), large(2)], ids=["in the database", "in a file"])
@pytest.mark.parametrize(
    "harm", [lambda data: data[:-1], lambda data: b"", lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:]]
)
def test_a_harmed_entry_is_a_miss(tmp_path: Path, disk: DiskStore, made: Entry, harm: Callable[[bytes], bytes]) -> None:
    put(disk, made, None)
    for file in (tmp_path / FOLDER).rglob("*.val"):
        file.write_bytes(harm(file.read_bytes()))
    for database in databases(tmp_path):
        connection = sqlite3.connect(database)
        connection.create_function("harm", 1, lambda data: harm(data) if data else data)
        with connection:
            connection.execute("UPDATE Cache SET value = harm(value) WHERE value IS NOT NULL")
        connection.close()
    assert disk.get(made.key) is None
    assert list(disk.entries()) == []
    assert put(disk, made, None) is True
    assert disk.get(made.key) == made


def test_an_entry_whose_file_is_gone_is_a_miss(tmp_path: Path, disk: DiskStore) -> None:
    put(disk, large(1), None)
    for file in (tmp_path / FOLDER).rglob("*.val"):
        file.unlink()
    assert disk.get(large(1).key) is None
    put(disk, large(1), None)
    assert disk.get(large(1).key) == large(1)


@pytest.mark.parametrize("exists", [False, True])
def test_the_folder_is_for_its_owner_only(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "new" / "store"
    if exists:
        folder.mkdir(parents=True, mode=0o755)
    DiskStore(folder, LIMIT).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_with_other_files_keeps_its_mode_and_hides_what_is_stored(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "notes.txt").touch(mode=0o644)
    for _ in range(2):
        with contextlib.closing(DiskStore(tmp_path, LIMIT, leases=True)) as store:
            put(store, entry(1), None)
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
        stored = [path for path in tmp_path.iterdir() if path.name != "notes.txt"]
        assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in stored} == {0}


def test_a_folder_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="CACHE_DIR") as caught:
        DiskStore(tmp_path / "file", LIMIT)
    assert str(tmp_path / "file") in str(caught.value)


def garbage(database: Path) -> None:
    database.write_bytes(b"no database" * 1000)


def half(database: Path) -> None:
    database.write_bytes(database.read_bytes()[:6000])


def emptied(database: Path) -> None:
    database.write_bytes(b"")


def folder_in_its_place(database: Path) -> None:
    database.unlink()
    database.mkdir()


def another_programs(database: Path) -> None:
    database.unlink()
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE Settings (name)")
    connection.close()


@pytest.mark.parametrize("harm", [garbage, half, emptied, folder_in_its_place, another_programs])
def test_a_corrupt_database_is_set_aside_at_the_start(
    tmp_path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    before = DiskStore(tmp_path / FOLDER, LIMIT)
    for number in range(40):
        put(before, entry(number), None)
    before.close()
    harmed = databases(tmp_path)[3]
    harm(harmed)
    store = DiskStore(tmp_path / FOLDER, LIMIT)
    kept = sum(store.get(entry(number).key) == entry(number) for number in range(40))
    assert 20 < kept < 40, "the other databases are whole"
    for number in range(40):
        put(store, entry(number), None)
    assert all(store.get(entry(number).key) == entry(number) for number in range(40))
    store.close()
    if harm is not emptied:  # to SQLite an empty file is a new database
        assert (tmp_path / FOLDER / "entries" / "3.corrupt-1").is_dir()
        assert len(caplog.messages) == 1
        assert "3.corrupt-1" in caplog.messages[0]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("use", [lambda store: put(store, entry(1), None), lambda store: store.get(entry(1).key)])
def test_a_database_that_becomes_corrupt_is_set_aside_at_its_next_use(
    tmp_path: Path, disk: DiskStore, use: Callable[[DiskStore], object], times: int, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(times):
        put(disk, entry(1), None)
        put(disk, large(1), None)
        used = max(databases(tmp_path), key=lambda file: file.with_name("cache.db-wal").stat().st_size)
        connection = sqlite3.connect(used)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        used.write_bytes(b"\xff" * used.stat().st_size)
        with pytest.raises(StoreError, match="CACHE_DIR"):
            use(disk)
        assert disk.get(entry(1).key) is None
        put(disk, entry(1), None)
        assert disk.get(entry(1).key) == entry(1)
    set_aside = sorted(path.name for path in (tmp_path / FOLDER / "entries").glob("*.corrupt-*"))
    assert [name.partition(".")[2] for name in set_aside] == [f"corrupt-{number + 1}" for number in range(times)]
    assert len(caplog.messages) == times


def test_random_harm_to_a_database_never_makes_an_answer(tmp_path: Path) -> None:
    made = [entry(number, body=b"answer %d " % number * 50) for number in range(200)]
    chance = random.Random(7)
    store = DiskStore(tmp_path / FOLDER, LIMIT)
    for item in made:
        put(store, item, None)
    store.close()
    sound = {database: database.read_bytes() for database in databases(tmp_path)}
    for _ in range(20):
        for database, data in sound.items():
            harmed = bytearray(data)
            for _ in range(20):
                harmed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            database.parent.mkdir(exist_ok=True)
            database.write_bytes(harmed)
            for beside in database.parent.glob("cache.db-*"):
                beside.unlink()
        store = DiskStore(tmp_path / FOLDER, LIMIT)
        for item in made:
            with contextlib.suppress(StoreError):
                found = store.get(item.key)
                assert found is None or found == made[int(found.key, 16)]
                # A row may have got another's key: the cache compares the entry's own with the one asked for.
            with contextlib.suppress(StoreError):
                put(store, item, None)
        with contextlib.suppress(StoreError):
            store.maintain()
        store.close()


def test_files_without_a_row_are_removed_once_they_are_old(tmp_path: Path, disk: DiskStore) -> None:
    put(disk, large(1), None)
    [kept] = (tmp_path / FOLDER).rglob("*.val")
    orphans = [kept.with_name(kept.name.replace("-", f"-{number}")) for number in (1, 2)]
    orphans.append(kept.with_name(kept.name.replace("1-", "2-")))
    for orphan in orphans:
        orphan.write_bytes(b"half")
    for path in (kept, *orphans[1:]):
        os.utime(path, (0, 0))
    for _ in range(256):
        disk.maintain()
    assert set((tmp_path / FOLDER).rglob("*.val")) == {kept, orphans[0]}, "a young file may be about to get its row"
    assert disk.get(large(1).key) == large(1)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_its_files_are_for_its_owner_only_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = DiskStore(tmp_path / FOLDER, LIMIT)
        put(store, entry(1), None)
        put(store, large(2), None, showing(1))
        files = [path for path in (tmp_path / FOLDER).rglob("*") if path.is_file()]
        assert {path.suffix for path in files} == {".db", ".db-wal", ".db-shm", ".val", ".reserve"}
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        store.close()
    finally:
        os.umask(before)


def test_a_request_is_kept_beside_its_entry_and_goes_with_it(store: Store) -> None:
    for number in range(3):
        put(store, entry(number), None, record(number, 7, 10 + number))
    put(store, entry(3), None)
    assert store.request(entry(1).key) == record(1, 7, 11)
    assert store.request(entry(3).key) is None
    store.delete(entry(1).key)
    assert store.request(entry(1).key) is None
    store.clear(Choice(model="model-0"))
    assert store.request(entry(2).key) is None
    put(store, entry(4), None, record(4))
    store.clear()
    assert store.request(entry(4).key) is None
    assert store.near([7, 10, 11, 12]) == []


def test_a_request_that_took_the_place_of_another_is_the_one_found(store: Store) -> None:
    put(store, entry(1), None, record(1, 7, 8))
    put(store, entry(1), None, record(2, 9))
    assert store.request(entry(1).key) == record(2, 9)
    assert store.near([9]) == [entry(1).key]


def test_the_near_requests_are_those_that_share_most_the_newest_first(store: Store) -> None:
    for number in range(NEWEST_OF_PART + 10):
        put(store, entry(number), None, record(number, 1, 100 + number // 2))
    newest = NEWEST_OF_PART + 9
    assert store.near([1, 2, -5]) == [entry(newest - number).key for number in range(NEAR_CANDIDATES)]
    assert store.near([102]) == [entry(5).key, entry(4).key]
    assert store.near([1, 102])[:2] == [entry(5).key, entry(4).key]  # what few share counts for more
    assert store.near([1, 102, 105])[:4] == [entry(11).key, entry(10).key, entry(5).key, entry(4).key]
    assert store.near([-(2**63), 2**63 - 1]) == []


def picture(number: int, size: int = 100_000) -> str:
    """The base64 text of random bytes."""
    return base64.b64encode(random.Random(number).randbytes(size)).decode()


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def showing(*numbers: int, size: int = 100_000) -> RequestRecord:
    """The record of a request that holds these pictures."""
    texts = (picture(number, size) for number in numbers)
    return dataclasses.replace(record(numbers[0]), media={digest_of(text): text for text in texts})


def test_a_picture_of_a_request_is_given_back_as_it_was_or_not_at_all(store: Store) -> None:
    put(store, entry(1), None, showing(1, 2))
    assert store.request(entry(1).key) == record(1)
    assert store.media(digest_of(picture(1))) in (picture(1), None)
    assert store.media(digest_of(picture(3))) is None
    store.clear()
    assert store.media(digest_of(picture(1))) is None


def test_what_all_share_does_not_add_up_to_what_two_share(store: Store) -> None:
    for number in range(NEWEST_OF_PART + 10):
        put(store, entry(number), None, record(number, *range(20), *([99] if number in (3, 4) else [])))
    assert store.near([*range(20), 99])[:2] == [entry(4).key, entry(3).key]


def test_the_log_of_misses_holds_the_last_ones(store: Store) -> None:
    for number in range(KEPT_MISSES + 5):
        store.add_miss(b"%d" % number)
    assert store.misses() == [b"%d" % number for number in reversed(range(5, KEPT_MISSES + 5))]
    store.clear()
    assert store.misses() == []


def test_requests_on_disk_expire_and_the_oldest_go_when_they_are_too_much(tmp_path: Path) -> None:
    media = Media(tmp_path / "media", 2**20)
    requests = Requests(tmp_path / "requests.db", 2**20, media)
    requests.put([("expired", record(0, 1), -1.0)])
    for number in range(40):
        long = dataclasses.replace(record(number, 2), body=random.Random(number).randbytes(40_000))
        requests.put([(str(number), long, 60.0)])
    requests.maintain()
    kept = [number for number in range(40) if requests.get(str(number))]
    assert requests.get("expired") is None
    assert kept
    assert kept == list(range(kept[0], 40))
    assert requests.near([1]) == []
    requests.close()
    media.close()


def kept_pictures(store: DiskStore, numbers: range) -> set[int]:
    return {number for number in numbers if store.media(digest_of(picture(number))) == picture(number)}


def test_a_picture_is_kept_once_until_the_last_request_that_holds_it_is_gone(tmp_path: Path, disk: DiskStore) -> None:
    files: list[set[Path]] = [set()]
    for turn in range(1, 6):
        put(disk, entry(turn), 3600.0, showing(*range(turn)))
        files.append(set((tmp_path / FOLDER / "media").rglob("*.val")))
        assert len(files[turn]) == turn
        assert files[turn] > files[turn - 1], "what is there is not written again"
    put(disk, entry(1), 3600.0, showing(0))
    assert kept_pictures(disk, range(5)) == set(range(5)), "a request that takes its own place keeps them"
    disk.delete(entry(5).key)
    assert kept_pictures(disk, range(5)) == set(range(4))
    put(disk, entry(4), 3600.0, record(4))
    assert kept_pictures(disk, range(5)) == set(range(3))
    put(disk, entry(3), 0.0, showing(*range(3)))
    disk.maintain()
    assert kept_pictures(disk, range(5)) == set(range(2))
    disk.close()
    with contextlib.closing(DiskStore(tmp_path / FOLDER, LIMIT)) as again:
        assert kept_pictures(again, range(5)) == set(range(2))
        again.clear()
    assert list((tmp_path / FOLDER / "media").rglob("*.val")) == []


def test_the_oldest_pictures_go_when_they_are_too_much_and_their_requests_stay(tmp_path: Path) -> None:
    with contextlib.closing(DiskStore(tmp_path / FOLDER, 2**40)) as store:
        for number in range(60):
            put(store, entry(number), None, showing(number))
    with contextlib.closing(DiskStore(tmp_path / FOLDER, 30_000_000)) as store:
        store.maintain()
        kept = kept_pictures(store, range(60))
        assert 10 < len(kept) < 30, "a tenth of the limit"
        assert kept == set(range(60 - len(kept), 60))
        assert store.request(entry(0).key) == record(0)
        put(store, entry(0), None, showing(0))
        assert kept_pictures(store, range(1)) == {0}


@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_damaged_picture_is_not_returned(tmp_path: Path, disk: DiskStore, size: int) -> None:
    digest = digest_of(picture(1, size))
    put(disk, entry(1), None, showing(1, size=size))
    assert disk.media(digest) == picture(1, size)
    for file in (tmp_path / FOLDER / "media").rglob("*.val"):
        file.write_bytes(file.read_bytes()[:-1])
    connection = sqlite3.connect(tmp_path / FOLDER / "media" / "cache.db")
    with connection:
        connection.execute("UPDATE Cache SET value = substr(value, 2) WHERE value IS NOT NULL")
    connection.close()
    assert disk.media(digest) is None


@pytest.mark.parametrize("at_start", [True, False])
def test_a_corrupt_file_of_requests_gives_way_to_an_empty_one(tmp_path: Path, at_start: bool) -> None:
    path = tmp_path / "requests.db"
    media = Media(tmp_path / "media", 2**20)
    first = Requests(path, 2**20, media)
    for number in range(50):
        first.put([(str(number), record(number, *range(number * 40, number * 40 + 40)), None)])
    first.put([("with a picture", showing(1), None)])
    first.close()
    second = None if at_start else Requests(path, 2**20, media)
    path.write_bytes(b"no database " * 4096)
    if second is None:
        second = Requests(path, 2**20, media)
    else:
        with pytest.raises(StoreError, match="cannot be used"):
            second.maintain()
    second.put([("1", record(1, 5), None)])
    assert second.near([5]) == ["1"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert media.get(digest_of(picture(1))) is None, "what no request holds goes"
    second.close()
    media.close()


def test_an_entry_is_kept_where_its_request_cannot_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = DiskStore(tmp_path / "store", LIMIT)
    with contextlib.closing(sqlite3.connect(tmp_path / "store" / "requests.db")) as other:
        other.execute("DROP TABLE parts")
    assert put(store, entry(1), None, record(1, 5)) is False
    assert store.get(entry(1).key) == entry(1)
    assert "stored without their requests" in caplog.text
    store.close()


def test_the_leases_of_one_folder_have_one_holder_until_that_one_releases_it(tmp_path: Path) -> None:
    mine, theirs = DiskLeases(tmp_path / "leases"), DiskLeases(tmp_path / "leases")
    assert [mine.take("key", "me"), theirs.take("key", "you"), mine.take("key", "me")] == ["me", "me", "me"]
    theirs.release("key", "you")
    theirs.renew("key", "you")
    assert theirs.take("key", "you") == "me"
    mine.renew("key", "me")
    mine.release("key", "me")
    mine.renew("key", "me")
    assert theirs.take("key", "you") == "you"
    mine.close()
    theirs.close()
