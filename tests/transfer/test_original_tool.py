from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache.cache.cache import Cache
from computer_use_cache.errors import FormatError, SettingError
from computer_use_cache.models import Entry, Request, Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore
from computer_use_cache.transfer import original_tool, recordings

NOW = 1_700_000_000.0
UPSTREAM = "http://127.0.0.1:9/v1"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hé \ud83d\ude00"}], "temperature": 0.2}
COMPLETION = {"model": "m", "prompt": "p"}
MESSAGE = {"role": "assistant", "content": "a"}
CHAT_ANSWER = {
    "id": "i",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
}
COMPLETION_ANSWER = {
    "id": "i",
    "object": "text_completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "text": "a", "finish_reason": "stop"}],
}
SECRET = "ghp_" + "a1B2" * 9
SCHEMA = (
    "CREATE TABLE completions (cache_key TEXT PRIMARY KEY, mode TEXT, model TEXT, request_json TEXT,"
    " response_json TEXT, created_at REAL, updated_at REAL, last_hit_at REAL, hits INTEGER)"
)


def row(request: Any = CHAT, response: Any = CHAT_ANSWER, mode: Any = "chat", at: Any = NOW - 10) -> dict[str, Any]:
    own = {"mode": mode, "cache_key": "k"} if isinstance(request, dict) else None
    stored = request | own if own else request
    return {"mode": mode, "request": stored, "response": response, "updated_at": at}


def sqlite_store(path: Path, *rows: dict[str, Any]) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(SCHEMA)
        for number, each in enumerate(rows):
            texts = [x if isinstance(x, bytes) else json.dumps(x) for x in (each["request"], each["response"])]
            values = (str(number), each["mode"], "m", *texts, 0.0, each["updated_at"], None, 0)
            connection.execute("INSERT INTO completions VALUES (?,?,?,?,?,?,?,?,?)", values)
        connection.commit()
    return path


def npm_store(path: Path, *rows: dict[str, Any]) -> Path:
    (path / "entries").mkdir(parents=True)
    for number, each in enumerate(rows):
        entry = each | {"cache_key": str(number), "model": "m", "created_at": 0.0, "last_hit_at": None, "hits": 0}
        if isinstance(each["request"], bytes):
            (path / "entries" / f"{number}.json").write_bytes(each["request"])
        else:
            (path / "entries" / f"{number}.json").write_text(json.dumps(entry))
    return path


STORES = pytest.mark.parametrize("make", [sqlite_store, npm_store])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    opened = DiskStore(tmp_path / "cache", 2**30)
    yield opened
    opened.close()


def cache_on(store: DiskStore, **environment: str) -> Cache:
    settings = Settings.load({"UPSTREAM_BASE_URL": UPSTREAM} | environment)
    return recordings.importing_cache(settings, store, loopback=True)


def found(cache: Cache, path: str, body: dict[str, Any]) -> Entry | None:
    plan = cache.plan(Request(UPSTREAM, path, (), {}, json.dumps(body).encode()))
    entry = cache.lookup(plan, NOW)
    return entry if isinstance(entry, Entry) else None


def imported(cache: Cache, path: Path) -> recordings.Summary:
    return recordings.keep_all(cache, original_tool.read(path, UPSTREAM), NOW)


@STORES
def test_an_imported_answer_is_what_the_same_request_gets(make: Any, tmp_path: Path, store: DiskStore) -> None:
    cache = cache_on(store)
    path = make(tmp_path / "old", row(), row(COMPLETION, COMPLETION_ANSWER, "completion"))
    assert imported(cache, path) == recordings.Summary(2, {})
    chat, completion = found(cache, "/chat/completions", CHAT), found(cache, "/completions", COMPLETION)
    assert chat
    assert json.loads(chat.body) == CHAT_ANSWER
    assert completion
    assert json.loads(completion.body) == COMPLETION_ANSWER


@pytest.mark.parametrize("extra", [{"stream": True}, {"metadata": {"a": 1}}, {"user": "u"}, {"temperature": 0.20}])
def test_it_is_a_hit_whatever_the_request_has_besides(extra: dict[str, Any], tmp_path: Path, store: DiskStore) -> None:
    cache = cache_on(store)
    imported(cache, npm_store(tmp_path / "old", row()))
    assert found(cache, "/chat/completions", CHAT | extra)


def test_the_scope_that_later_versions_add_is_no_part_of_the_request(tmp_path: Path, store: DiskStore) -> None:
    cache = cache_on(store)
    imported(cache, npm_store(tmp_path / "old", row(CHAT | {"credential_scope": "0" * 64})))
    assert found(cache, "/chat/completions", CHAT)


@STORES
def test_the_ttl_runs_from_the_recording(make: Any, tmp_path: Path, store: DiskStore) -> None:
    cache = cache_on(store, CACHE_TTL_SECONDS="100")
    path = make(tmp_path / "old", row(at=NOW - 40), row(COMPLETION, COMPLETION_ANSWER, "completion", NOW - 101))
    assert imported(cache, path) == recordings.Summary(1, {"expired": 1})
    entry = found(cache, "/chat/completions", CHAT)
    assert entry
    assert (entry.created_at, entry.expires_at) == (NOW - 40, NOW + 60)


DAMAGED = [
    row(request=b"{"),
    row(request=b"\xff\xfe"),
    row(request=[1]),
    row(response=None),
    row(response="text"),
    row(mode="image"),
    row(mode=None),
    row(at=None),
    row(at="noon"),
    row(at=NOW * 1000),
    row(at=-1.0),
]


@STORES
@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_row_is_skipped_and_the_rest_is_kept(
    make: Any, damaged: dict[str, Any], tmp_path: Path, store: DiskStore
) -> None:
    summary = imported(cache_on(store), make(tmp_path / "old", damaged, row()))
    assert summary.kept == 1
    ((reason, count),) = summary.skipped.items()
    assert reason.startswith("damaged: ")
    assert count == 1


@STORES
@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (row(response={"error": {"message": "no"}}), "error"),
        (row(response=CHAT_ANSWER | {"choices": []}), "choices"),
        (row(request={"messages": []}), "model"),
        (row(request=CHAT | {"model": "denied"}), "model"),
    ],
)
def test_what_a_live_answer_would_not_be_stored_for_is_skipped_with_its_reason(
    make: Any, refused: dict[str, Any], reason: str, tmp_path: Path, store: DiskStore
) -> None:
    cache = cache_on(store, CACHE_MODEL_DENYLIST="denied")
    summary = imported(cache, make(tmp_path / "old", refused))
    assert summary.kept == 0
    assert reason in next(iter(summary.skipped))
    assert store.size().entries == 0


@STORES
def test_a_credential_is_not_imported_with_its_conversation(make: Any, tmp_path: Path, store: DiskStore) -> None:
    held = row(request=CHAT | {"messages": [{"role": "user", "content": SECRET}]})
    assert imported(cache_on(store), make(tmp_path / "old", held)).kept == 1
    (entry,) = store.entries()
    record = store.request(entry.key)
    assert record
    assert b"<secret 1>" in record.body
    assert SECRET not in repr((entry, record))


@pytest.mark.parametrize(
    ("first", "second", "outcome"), [(5, 9, "stored already"), (5, 5, "stored already"), (9, 5, None)]
)
def test_only_an_older_entry_is_replaced(
    first: int, second: int, outcome: str | None, tmp_path: Path, store: DiskStore
) -> None:
    cache = cache_on(store)
    imported(cache, npm_store(tmp_path / "one", row(at=NOW - first)))
    summary = imported(cache, npm_store(tmp_path / "two", row(at=NOW - second)))
    assert summary == (recordings.Summary(0, {outcome: 1}) if outcome else recordings.Summary(1, {}))
    entry = found(cache, "/chat/completions", CHAT)
    assert entry
    assert entry.created_at == NOW - min(first, second)


@pytest.mark.parametrize("content", [b"", b"not a database", None])
def test_a_file_that_is_no_store_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FormatError, match="cannot be read as the original tool's SQLite file"):
        list(original_tool.read(path, UPSTREAM))
    assert path.exists() is (content is not None)


def test_a_folder_without_entries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds no entries"):
        list(original_tool.read(tmp_path, UPSTREAM))


def test_a_file_damaged_in_its_middle_gives_what_can_be_read(tmp_path: Path, store: DiskStore) -> None:
    rows = [row(CHAT | {"seed": number}, CHAT_ANSWER | {"pad": "x" * 3000}) for number in range(20)]
    path = sqlite_store(tmp_path / "old", *rows)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096 * 2] = b"\xff" * 4096 * 2
    path.write_bytes(data)
    outcomes = list(original_tool.read(path, UPSTREAM))
    assert any(isinstance(outcome, recordings.Recording) for outcome in outcomes)
    assert any(isinstance(outcome, Skipped) for outcome in outcomes)


@STORES
def test_the_old_store_is_left_as_it_is(make: Any, tmp_path: Path, store: DiskStore) -> None:
    path = make(tmp_path / "old", row())
    file = path if path.is_file() else path / "entries" / "0.json"
    before = file.read_bytes(), sorted(file.parent.iterdir())
    imported(cache_on(store), path)
    assert (file.read_bytes(), sorted(file.parent.iterdir())) == before


@pytest.mark.parametrize("environment", [{"CACHE_MODE": "offline"}, {"CACHE_MODE": "off"}, {"CACHE_ENABLED": "0"}])
def test_the_mode_for_requests_does_not_stop_an_import(
    environment: dict[str, str], tmp_path: Path, store: DiskStore
) -> None:
    assert imported(cache_on(store, **environment), npm_store(tmp_path / "old", row())).kept == 1


@pytest.mark.parametrize(("scope", "loopback"), [("credential", True), ("auto", False)])
def test_where_callers_share_nothing_an_import_is_refused(scope: str, loopback: bool) -> None:
    with pytest.raises(SettingError, match="CACHE_SCOPE=shared"):
        recordings.check_shared(Settings.load({"CACHE_SCOPE": scope}), loopback=loopback)


def test_the_file_that_is_set_is_imported_once_and_again_when_it_changed(tmp_path: Path, store: DiskStore) -> None:
    path = sqlite_store(tmp_path / "old", row())
    settings = Settings.load({"UPSTREAM_BASE_URL": UPSTREAM, "CACHE_DB_PATH": str(path)})
    assert original_tool.import_once(settings, store, loopback=True, now=NOW) == recordings.Summary(1, {})
    store.clear()
    assert original_tool.import_once(settings, store, loopback=True, now=NOW) is None
    assert store.size().entries == 0
    os.utime(path, (time.time() + 5, time.time() + 5))
    assert original_tool.import_once(settings, store, loopback=True, now=NOW) == recordings.Summary(1, {})


@pytest.mark.parametrize("path", ["", "absent.sqlite3"])
def test_no_file_is_nothing_to_import(path: str, store: DiskStore) -> None:
    assert original_tool.import_once(Settings.load({"CACHE_DB_PATH": path}), store, loopback=True, now=NOW) is None
