"""A proxy with many calls at once has a second process store their answers, which never costs an answer."""

from __future__ import annotations

import os
import select
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from computer_use_cache.setting_values import cores
from support import Asked, Proxy, Send, Upstream, answer_chat

AGENTS = 40
"""More calls at once than a proxy studies while they run."""

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the process is found in /proc"),
    pytest.mark.skipif(cores() == 1, reason="a second process is of no use on one core"),
]


def ask_at_once(proxy: Proxy, upstream: Upstream, name: str) -> list[str]:
    """The outcomes of many calls, which are answered once all have arrived."""
    gate, before = upstream.new_event(), len(upstream.asked)

    async def held(asked: Asked, send: Send) -> None:
        await gate.wait()
        await answer_chat(asked, send)

    upstream.handler = held
    with ThreadPoolExecutor(AGENTS) as pool:
        answers = [pool.submit(proxy.chat, f"{name} {number}") for number in range(AGENTS)]
        upstream.wait_for(before + AGENTS)
        gate.open()
        return [answer.result().cache for answer in answers]


def storing_process(proxy: Proxy) -> int:
    """Its number, once there is one."""
    for _ in range(1000):
        children = (each.read_text() for each in Path(f"/proc/{proxy.process.pid}/task").glob("*/children"))
        if found := "".join(children).split():
            return int(found[0])
        proxy.stats()
    raise AssertionError("it was not started")


def wait_for_end(process: int) -> None:
    ended = select.poll()
    ended.register(process, select.POLLIN)
    assert ended.poll(30_000), "it still runs"
    os.close(process)


def test_no_answer_is_lost_when_the_process_is_killed(proxy: Proxy, upstream: Upstream) -> None:
    assert ask_at_once(proxy, upstream, "first") == ["MISS"] * AGENTS
    os.kill(storing_process(proxy), signal.SIGKILL)
    proxy.log.wait_for("the proxy now stores them itself")
    assert ask_at_once(proxy, upstream, "second") == ["MISS"] * AGENTS
    asked = [f"{name} {number}" for name in ("first", "second") for number in range(AGENTS)]
    assert [proxy.chat(text).cache for text in asked] == ["HIT"] * len(asked)
    assert proxy.stats()["stored"] == len(asked)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_process_ends_with_the_proxy(proxy: Proxy, upstream: Upstream, end: signal.Signals) -> None:
    ask_at_once(proxy, upstream, "first")
    process = os.pidfd_open(storing_process(proxy))
    proxy.process.send_signal(end)
    wait_for_end(process)
