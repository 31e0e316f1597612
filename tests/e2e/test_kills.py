"""kill -9 while entries are written: what is replayed afterwards is right and whole, and little is lost.

Every answer can be worked out from its request, so every one is checked. CACHE_TEST_KILLS sets how many kills
(default 5; about a second each).
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
from pathlib import Path

import pytest

from support import (
    STREAM_HEAD,
    Answer,
    Asked,
    Proxy,
    Send,
    Upstream,
    chat_events,
    chunk,
    completion,
    response,
    running_proxy,
)

KILLS = int(os.environ.get("CACHE_TEST_KILLS", "5"))
WRITERS = 4
KILL_AFTER = 40
"""Answers, on average."""


def expected(text: str) -> str:
    """The answer to a prompt; one in four is larger than what the database takes, and incompressible."""
    chance = random.Random(text)
    return text + chance.randbytes(60_000 if chance.random() < 0.25 else 500).hex()


async def answer(asked: Asked, send: Send) -> None:
    body = asked.json()
    text = expected(body["messages"][0]["content"])
    if body.get("stream"):
        await send(STREAM_HEAD + b"".join(map(chunk, [*chat_events(text[:100], text[100:]), b""])))
    else:
        await send(response(json.dumps(completion(text)).encode()))


def text_of(found: Answer) -> str:
    """The text of a whole answer, of either shape."""
    if not found.headers["content-type"].startswith("text/event-stream"):
        text: str = found.json()["choices"][0]["message"]["content"]
        return text
    *events, done = found.body.decode().removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]
    assert choices[-1]["finish_reason"] == "stop"
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def ask(proxy: Proxy, text: str, *, stream: bool) -> Answer:
    """The answer, which is checked."""
    found = proxy.chat(text, stream=stream)
    assert text_of(found) == expected(text), text
    return found


class Load:
    """Clients that ask for something new again and again until the proxy is gone."""

    def __init__(self, proxy: Proxy, run: int) -> None:
        self._proxy = proxy
        self.answered: dict[str, bool] = {}
        """By prompt, whether the answer said that it was stored; a stream is stored after it has ended."""
        self.wrong: list[AssertionError] = []
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, args=(f"{run} {number}",)) for number in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def _work(self, name: str) -> None:
        for number in range(1_000_000):
            text = f"{name} {number}"
            try:
                found = ask(self._proxy, text, stream=number % 3 == 0)
            except (OSError, http.client.HTTPException):
                return
            except AssertionError as error:
                self.wrong.append(error)
                return
            with self._changed:
                self.answered[text] = found.headers["x-computer-use-cache-store"] == "stored"
                self._changed.notify()

    def wait_for(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.answered) >= number or self.wrong, 60)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.mark.timeout(60 + 10 * KILLS)
def test_nothing_wrong_or_truncated_is_replayed_after_kills(tmp_path: Path, upstream: Upstream) -> None:
    upstream.handler = answer
    chance = random.Random(1)
    known: dict[str, bool] = {}
    hits = lost = 0
    for run in range(KILLS + 1):
        with running_proxy(tmp_path, upstream.url) as proxy:
            latest = list(known)[-2 * WRITERS :]
            for text in {*latest, *chance.sample(list(known), min(len(known), 60))}:
                is_hit = ask(proxy, text, stream=chance.random() < 0.5).cache == "HIT"
                hits += is_hit
                lost += known[text] and not is_hit
                known[text] = True
            if run < KILLS:
                load = Load(proxy, run)
                load.wait_for(1 + chance.randrange(2 * KILL_AFTER))
                proxy.process.kill()
                load.join()
                assert not load.wrong
                known |= load.answered
    print(f"{KILLS} kills, {len(known)} answers, {hits} replays checked, {lost} entries lost")
    assert hits > KILLS
    assert lost == 0, "what was said to be stored is there"
