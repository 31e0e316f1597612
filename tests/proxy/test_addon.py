"""mitmproxy's hooks, called as mitmproxy calls them."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy.http import HTTPFlow
from mitmproxy.test import tflow

from computer_use_cache.proxy.addon import ComputerUseCache

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from mitmproxy.addons.proxyauth import ProxyAuth
    from mitmproxy.addons.proxyserver import Proxyserver
    from mitmproxy.test import taddons


@pytest.fixture
def addon(tmp_path: Path) -> Iterator[ComputerUseCache]:
    addon = ComputerUseCache()
    with taddons.context(Proxyserver(), ProxyAuth(), loadcore=False) as context:
        context.master.addons.add(addon)
        context.configure(addon, cache_dir=str(tmp_path))
        yield addon
        addon.done()


def call_to_a_model() -> HTTPFlow:
    flow = tflow.tflow(resp=True)
    flow.request.url = "https://api.openai.com/v1/chat/completions"
    flow.client_conn.sni = "api.openai.com"
    flow.live = True
    return flow


@pytest.mark.parametrize("hook", ["request", "responseheaders", "response", "error"])
def test_a_hook_ends_quietly_if_the_store_is_closed_while_it_waits(
    addon: ComputerUseCache, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def close(*_: object) -> None:
        addon.done()
        raise RuntimeError("the store is closed")

    session = addon._session
    assert session
    for name in ("request", "response_headers", "response", "error"):
        monkeypatch.setattr(session.exchanges, name, close)
    flow = call_to_a_model()
    if hook == "request":
        flow.response = None
    asyncio.run(getattr(addon, hook)(flow))
    assert addon._session is None


def test_counts_are_saved_while_the_store_is_maintained(
    addon: ComputerUseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = addon._session
    assert session
    maintaining, saved, gate = (threading.Event() for _ in range(3))
    flush = session.shared.flush

    def maintain() -> None:
        maintaining.set()
        gate.wait(10)

    def counted_flush(now: float, *, is_last: bool = False) -> None:
        flush(now, is_last=is_last)
        if maintaining.is_set():
            saved.set()

    async def keep_up() -> None:
        addon.running()
        assert await asyncio.to_thread(saved.wait, 10)
        gate.set()

    monkeypatch.setattr(session.cache.store, "maintain", maintain)
    monkeypatch.setattr(session.shared, "flush", counted_flush)
    for name in ("_FLUSH_SECONDS", "_MAINTENANCE_SECONDS"):
        monkeypatch.setattr(f"computer_use_cache.proxy.addon.{name}", 0.0)
    asyncio.run(keep_up())


def test_the_last_counts_are_saved_before_running_upkeep_is_waited_for(
    addon: ComputerUseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = addon._session
    assert session
    store, gate, saved = session.cache.store, threading.Event(), list[dict[str, float]]()

    def interrupt() -> None:
        saved.append(store.counts())
        gate.set()

    monkeypatch.setattr(store, "interrupt", interrupt)
    session._keeper.submit(gate.wait, 10)
    session.ledger.refused()
    addon.done()
    assert saved == [{"refusals": 1.0}]
