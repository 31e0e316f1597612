"""Connections of the fast path: their searches are run together, and each gets its own answer."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from unittest.mock import Mock

import pytest
from tests.proxy.stored_chat import ANSWER, OTHER, STORED, sent

from computer_use_cache.proxy.connections import Connections
from computer_use_cache.proxy.fast_path import searches as searches_module
from computer_use_cache.proxy.fast_path.conversation import Search, search_quickly
from computer_use_cache.proxy.fast_path.lookup import FastPath
from computer_use_cache.proxy.fast_path.protocol import FastPathProtocol
from computer_use_cache.proxy.fast_path.searches import Searches

LONG = STORED + b" " * 140_000
"""A request that is looked up in a thread."""


class Client:
    """A client connection whose socket keeps what is written, and the bytes that mitmproxy gets."""

    def __init__(self, protocol: FastPathProtocol, passed_on: Mock) -> None:
        self.protocol = protocol
        self._passed_on = passed_on
        self.socket = Mock(**{"get_extra_info.return_value": ("127.0.0.1", 80), "is_closing.return_value": False})
        protocol.connection_made(self.socket)

    @property
    def answers(self) -> list[bytes]:
        return [call.args[0] for call in self.socket.write.call_args_list]

    @property
    def passed_on(self) -> bytes:
        return b"".join(call.args[0] for call in self._passed_on.data_received.call_args_list)


class House:
    """The clients of one proxy, and how many searches each turn ran."""

    def __init__(self, fast_path: FastPath) -> None:
        self.turns: list[int] = []
        self._fast_path = fast_path
        self._connections = Connections()
        self._searches = Searches()

    def client(self) -> Client:
        passed_on = Mock()
        return Client(
            FastPathProtocol(lambda: self._fast_path, self._connections, self._searches, lambda: passed_on, 60.0),
            passed_on,
        )


@pytest.fixture
def house(fast_path: FastPath, monkeypatch: pytest.MonkeyPatch) -> House:
    house = House(fast_path)

    def search(together: list[Search]) -> None:
        house.turns.append(len(together))
        search_quickly(together)

    monkeypatch.setattr(searches_module, "search_quickly", search)
    return house


def on_a_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**fixtures: object) -> None:
        asyncio.run(test(**fixtures))

    return run


async def turn() -> None:
    """Let the searches of this turn of the event loop be run."""
    await asyncio.sleep(0)


@on_a_loop
async def test_clients_that_ask_in_one_turn_each_get_their_own_answer(house: House) -> None:
    clients = [house.client() for _ in range(3)]
    for client, body in zip(clients, (STORED, OTHER, STORED), strict=True):
        client.protocol.data_received(sent(body))
        assert client.protocol.unanswered
    await turn()
    assert house.turns == [3]
    assert [len(client.answers) for client in clients] == [1, 0, 1]
    assert clients[0].answers[0].endswith(ANSWER)
    assert [client.passed_on for client in clients] == [b"", sent(OTHER), b""]


@on_a_loop
async def test_the_only_client_waits_for_no_other(house: House) -> None:
    client = house.client()
    client.protocol.data_received(sent(STORED))
    assert len(client.answers) == 1
    assert house.turns == []


@pytest.mark.parametrize("cut", [len(sent(STORED)), len(sent(STORED)) + 10])
@on_a_loop
async def test_what_arrives_during_a_search_is_answered_after_it(house: House, cut: int) -> None:
    client, _ = house.client(), house.client()
    sent_together = sent(STORED) * 2
    client.protocol.data_received(sent_together[:cut])
    client.protocol.data_received(sent_together[cut:])
    await turn()
    await turn()
    assert [answer.endswith(ANSWER) for answer in client.answers] == [True, True]


@on_a_loop
async def test_a_client_that_ends_its_side_during_a_search_is_passed_on(house: House) -> None:
    client, _ = house.client(), house.client()
    client.protocol.data_received(sent(STORED))
    client.protocol.eof_received()
    await turn()
    assert client.passed_on == sent(STORED)
    assert client.answers == []


@on_a_loop
async def test_a_connection_that_fails_takes_no_other_down(house: House, caplog: pytest.LogCaptureFixture) -> None:
    failing, other = house.client(), house.client()
    failing.socket.write.side_effect = OSError("gone")
    for client in (failing, other):
        client.protocol.data_received(sent(STORED))
    await turn()
    assert len(other.answers) == 1
    assert failing.socket.abort.called
    assert "a connection failed after a search" in caplog.text


async def searched() -> None:
    """Wait until the searches in threads are done."""
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)


@on_a_loop
async def test_a_connection_that_fails_after_a_search_in_a_thread_is_aborted(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    client = house.client()
    client.socket.write.side_effect = OSError("gone")
    client.protocol.data_received(sent(LONG))
    await searched()
    assert client.socket.abort.called
    assert "a connection failed after a search" in caplog.text


@on_a_loop
async def test_a_request_is_passed_on_if_no_thread_can_be_started_for_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = house.client()
    monkeypatch.setattr(asyncio, "to_thread", Mock(side_effect=RuntimeError("can't start new thread")))
    client.protocol.data_received(sent(LONG))
    await searched()
    assert client.passed_on == sent(LONG)
