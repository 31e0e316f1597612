"""What takes long is decided in a thread, and nothing that happens meanwhile is missed."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from computer_use_cache.cache import rebound, replay
from computer_use_cache.exchange.decisions import Forward
from computer_use_cache.models import Outcome, Response
from credential_samples import token
from exchange.house import GOOD, House
from pictures import coded
from support import completion

LONG = "x" * 20_000
"""A request with it is decided in a thread."""
LONG_ANSWER = Response(200, {"content-type": "application/json"}, json.dumps(completion(LONG)).encode(), 2.0)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08\0\0\0\x08" + bytes(3000)
FIRST, SECOND = "use /tmp/tmp.k3J9xQ2aLm", "use /tmp/tmp.Zw81hTpB0c"
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{coded(PNG)}"}}


def shown(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": text}, PICTURE]}]


@pytest.mark.parametrize(
    ("recorded", "asked", "answer", "is_on_the_loop"),
    [
        ({"text": FIRST}, {"text": SECOND}, GOOD, True),
        ({"text": FIRST}, {"text": SECOND}, LONG_ANSWER, False),
        ({"text": f"use {token('1a2B')}"}, {"text": f"use {token('1a2B')}"}, GOOD, True),
        ({"text": f"use {token('1a2B')}"}, {"text": f"use {token('1a2B')}"}, LONG_ANSWER, False),
        ({"messages": shown(FIRST)}, {"messages": shown(SECOND)}, GOOD, False),
    ],
    ids=["other values", "other values, long", "a credential", "a credential, long", "a picture"],
)
def test_a_long_answer_to_a_short_request_is_rebound_in_a_thread(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    recorded: dict[str, Any],
    asked: dict[str, Any],
    answer: Response,
    is_on_the_loop: bool,
) -> None:
    threads, replayed = list[int](), replay._replayed

    def noted(*arguments: Any) -> Any:
        threads.append(threading.get_ident())
        return replayed(*arguments)

    async def live() -> None:
        await house.answered(house.asks({"x-cache-rebind": "on"}, **recorded), answer)
        monkeypatch.setattr(replay, "_replayed", noted)
        assert (await house.resolved(house.asks({"x-cache-rebind": "on"}, **asked))).outcome is Outcome.HIT
        assert [thread == threading.get_ident() for thread in threads] == [is_on_the_loop]

    asyncio.run(live())


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
