"""A fast path with one entry in its store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.proxy.stored_chat import ANSWER, STORED

from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.cache.cache import Cache
from computer_use_cache.exchange.runners import Runners
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.models import Entry, Request, Response
from computer_use_cache.proxy.admission import Gate
from computer_use_cache.proxy.fast_path.lookup import FastPath
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore


@pytest.fixture
def fast_path(tmp_path: Path) -> Iterator[FastPath]:
    settings = Settings.load({"CACHE_DIR": str(tmp_path)})
    store = DiskStore(tmp_path, 2**20)
    cache, now = Cache(settings, store, loopback=True), time.time()
    plan = cache.plan(Request(str(settings.upstream_base_url), "/chat/completions", (), {}, STORED))
    entry = cache.judge(plan, Response(200, {"content-type": "application/json"}, ANSWER, 1.0), now)
    assert isinstance(entry, Entry)
    cache.keep(entry, now)
    run = Runners(asyncio.to_thread, asyncio.to_thread, asyncio.to_thread, time.time)
    yield FastPath(Shared(cache, Ledger(store), run), Gate(settings, loopback=True))
    store.close()
