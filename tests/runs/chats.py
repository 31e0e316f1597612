"""Chats that are recorded without a proxy, for tests of runs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from computer_use_cache.models import Response
from computer_use_cache.run_models import Call, Run
from exchange.house import GOOD, House
from support import completion

SYSTEM = {"role": "system", "content": "You drive a browser."}


def said(*texts: str) -> list[dict[str, str]]:
    """A conversation: the user and the model take turns."""
    turns = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    return [SYSTEM, *turns]


def answering(text: str) -> Response:
    """A completion with this text."""
    return Response(200, {"content-type": "application/json"}, json.dumps(completion(text)).encode(), 2.0)


def chats(house: House, messages: list[Any], headers: dict[str, str] | None = None, answer: Response = GOOD) -> None:
    """One call that begins now and takes a second."""
    asyncio.run(house.lived(house.asks(headers, messages=messages), answer, seconds=1.0))


def recorded(house: House) -> list[tuple[Run, list[Call]]]:
    """The runs with their calls, the oldest run first."""
    house.shared.flush(house.now)
    log = house.store.run_log
    return [(run, log.calls(run.id)) for run in reversed(log.runs(99))]


def calling(tool: str, **arguments: Any) -> Response:
    """A completion that calls a tool."""
    function = {"name": tool, "arguments": json.dumps(arguments)}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": function}],
    }
    choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    body = completion("") | {"choices": choices}
    return Response(200, {"content-type": "application/json"}, json.dumps(body).encode(), 2.0)
