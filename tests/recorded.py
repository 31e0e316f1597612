"""Entries that were recorded a while ago, put into the store of a proxy that runs or will run."""

from __future__ import annotations

import json
import time

from computer_use_cache.cache.cache import Cache
from computer_use_cache.models import Entry, Request, Response
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore
from support import Upstream, chat_request


def put_chat(store: DiskStore, upstream: Upstream, text: str, body: bytes, age: float, **environment: str) -> None:
    """Keep `body` as the answer to a chat request that was asked `age` seconds ago."""
    core = Cache(Settings.load(environment), store, loopback=True)
    request = Request(upstream.url, "/chat/completions", (), {}, json.dumps(chat_request(text)).encode())
    kind = "text/event-stream" if body.startswith(b"data: ") else "application/json"
    now = time.time()
    entry = core.judge(core.plan(request), Response(200, {"content-type": kind}, body, 1.5), now - age)
    assert isinstance(entry, Entry), entry
    core.keep(entry, now)
