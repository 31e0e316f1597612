"""CACHE_DB_PATH: users of the original tool keep what its SQLite file holds."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from support import Upstream, chat_request, completion, running_proxy


def test_the_entries_of_the_original_are_served_after_a_start(tmp_path: Path, upstream: Upstream) -> None:
    file = tmp_path / "code_model_cache.sqlite3"
    stored = chat_request() | {"mode": "chat", "cache_key": "k"}
    with closing(sqlite3.connect(file)) as database, database:
        columns = "cache_key, mode, model, request_json, response_json, created_at, updated_at, last_hit_at, hits"
        database.execute(f"CREATE TABLE completions ({columns})")
        row = ("k", "chat", "gpt-test", json.dumps(stored), json.dumps(completion("old")), 1.0, time.time(), None, 3)
        database.execute("INSERT INTO completions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    with running_proxy(tmp_path, upstream.url, CACHE_DB_PATH=str(file)) as proxy:
        proxy.log.wait_for("imported 1 entry")
        assert (proxy.chat().cache, proxy.chat().json()) == ("HIT", completion("old"))
        assert proxy.post("/cache/clear", {}).json()["deleted"] == 1
    with running_proxy(tmp_path, upstream.url, CACHE_DB_PATH=str(file)) as proxy:
        assert proxy.chat().cache == "MISS", "what was cleared is not imported again"
