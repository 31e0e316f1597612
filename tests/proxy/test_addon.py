"""mitmproxy's hooks, called as mitmproxy calls them."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from computer_use_cache.exchange.forking import Forking
from computer_use_cache.models import Request
from computer_use_cache.proxy.addon import ComputerUseCache
from computer_use_cache.run_models import Fork

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from mitmproxy.addons.proxyauth import ProxyAuth
    from mitmproxy.addons.proxyserver import Proxyserver
    from mitmproxy.test import taddons


@contextmanager
def running_addon(folder: Path) -> Iterator[ComputerUseCache]:
    addon = ComputerUseCache()
    with taddons.context(Proxyserver(), ProxyAuth(), loadcore=False) as context:
        context.master.addons.add(addon)
        context.configure(addon, cache_dir=str(folder))
        yield addon
        addon.done()


@pytest.fixture
def addon(tmp_path: Path) -> Iterator[ComputerUseCache]:
    with running_addon(tmp_path) as addon:
        yield addon


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


def test_a_call_before_a_fork_is_refused_if_the_cache_fails_before_it_has_a_plan(
    addon: ComputerUseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Request) -> None:
        raise RuntimeError("broken on purpose")

    session = addon._session
    assert session
    monkeypatch.setattr(session.cache, "plan", broken)
    session.exchanges.forking = Forking([Fork(after=1, run="r2")], is_new=True)
    before, after = call_to_a_model(), call_to_a_model()
    for flow in (before, after):
        flow.request.method, flow.response = "POST", None
        asyncio.run(addon.request(flow))
    assert before.response
    assert b"fork --from lets nothing go upstream" in (before.response.content or b"")
    assert after.response is None


@pytest.mark.parametrize("hook", ["responseheaders", "cache_slow_answer"])
@pytest.mark.parametrize(("status", "is_streamed"), [(200, True), (401, False), (529, False)])
def test_an_error_that_may_quote_the_operators_key_is_not_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str, status: int, is_streamed: bool
) -> None:
    monkeypatch.setenv("UPSTREAM_API_KEY", "-".join(("operator", "0123456789abcdef")))
    with running_addon(tmp_path) as addon:
        flow = tflow.tflow(resp=True)
        flow.client_conn.proxy_mode = ProxyMode.parse("reverse:http://127.0.0.1:9")
        assert flow.response
        flow.response.status_code = status
        flow.response.stream = hook == "responseheaders"  # as mitmproxy's `stream_large_bodies` has it
        asyncio.run(getattr(addon, hook)(flow))
        assert bool(flow.response.stream) == is_streamed


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
