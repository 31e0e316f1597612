"""What takes long is decided in a thread, and nothing that happens meanwhile is missed."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from computer_use_cache.cache import rebound
from computer_use_cache.exchange.decisions import Forward
from computer_use_cache.models import Outcome
from exchange.house import GOOD, House

LONG = "x" * 20_000
"""A request with it is decided in a thread."""


def test_an_answer_that_is_stored_after_the_thread_has_looked_is_not_paid_for_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, has_looked, is_stored = rebound.prepare, threading.Event(), threading.Event()

    def prepare_slowly(*arguments: Any) -> Any:
        has_looked.set()
        assert is_stored.wait(30)
        return prepare(*arguments)

    async def live() -> None:
        first = house.asks(text=LONG)
        assert isinstance(await first.resolve(), Forward)
        monkeypatch.setattr(rebound, "prepare", prepare_slowly)
        second = asyncio.create_task(house.lived(house.asks(text=LONG)))
        assert await asyncio.to_thread(has_looked.wait, 30)
        first.settle(await first.on_response(GOOD), house.now)
        is_stored.set()
        assert (await second).outcome is Outcome.HIT

    asyncio.run(live())
