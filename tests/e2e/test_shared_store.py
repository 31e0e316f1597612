"""Two proxies on one server: they share entries and upstream calls, and a failing server never prevents an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from computer_use_cache.store import codec
from support import FAKE_KEY, Gate, Proxy, Upstream, always, completion, response, running_proxy
from valkey_cluster import ValkeyCluster

DOWN = "does not answer"
LEASES = "computer-use-cache:1:lease:*"


@pytest.fixture
def proxies(tmp_path: Path, upstream: Upstream, store_server: Any) -> Iterator[tuple[Proxy, Proxy]]:
    """Two proxies that share a store, as on two machines."""
    shared = {"CACHE_STORE_URL": store_server.connection_url}
    with (
        running_proxy(tmp_path / "one", upstream.url, **shared) as one,
        running_proxy(tmp_path / "two", upstream.url, **shared) as two,
    ):
        yield one, two


def hold(upstream: Upstream, text: str = "pong", *, status: int = 200) -> Gate:
    """Have the upstream keep its answers back until the gate is opened."""
    gate = upstream.new_event()
    body = json.dumps(completion(text)).encode() if status == 200 else b'{"error": {"message": "slow down"}}'

    async def handler(asked: object, send: Any) -> None:
        await gate.wait()
        await send(response(body, status))

    upstream.handler = handler
    return gate


def wait_for_follower(store_server: Any) -> None:
    """Return when a proxy that waits for another's call has asked for the lease again."""
    with store_server.client() as client, client.monitor() as monitor:
        keys = [str(client.keys(LEASES))]
        while len(keys) < 3:
            command = monitor.next_command()["command"]
            if "lease:" in command and command.startswith("EVAL"):
                keys.append(command)


def test_an_answer_that_one_proxy_stored_is_a_hit_on_the_other(
    proxies: tuple[Proxy, Proxy], upstream: Upstream, tmp_path: Path, store_server: Any
) -> None:
    one, two = proxies
    first = one.chat()
    assert (first.cache, first.headers["x-computer-use-cache-store"]) == ("MISS", "stored")
    second = two.chat()
    assert (second.cache, second.body) == ("HIT", first.body)
    assert two.chat(stream=True).cache == "HIT"
    assert len(upstream.asked) == 1
    stats = two.stats()
    assert (stats["hits"], stats["cache_dir"]) == (2, store_server.connection_url)
    assert not (tmp_path / "one" / "store").exists()
    assert two.ask("POST", "/cache/clear").json()["deleted"] == 1
    assert one.stats()["entries"] == 0


def test_nothing_on_the_server_holds_the_callers_credential(
    proxies: tuple[Proxy, Proxy], upstream: Upstream, store_server: Any
) -> None:
    commands = []
    with store_server.client() as client, client.monitor() as monitor:
        proxies[0].chat("first")
        proxies[0].chat("first")
        proxies[0].ask("DELETE", "/cache/entries/last-command-of-this-test")
        while "last-command-of-this-test" not in "".join(commands):
            commands.append(monitor.next_command()["command"])
        proxies[0].chat("second")
        data = [client.get(key) for key in client.keys("computer-use-cache:1:entry:*")]
    told = "".join(commands) + "".join(repr(codec.decode(each)) for each in data)
    assert len(data) == 2
    assert "pong" in told
    assert FAKE_KEY in upstream.asked[0].headers["authorization"]
    assert FAKE_KEY not in told


def test_simultaneous_requests_on_two_proxies_make_one_upstream_call(
    proxies: tuple[Proxy, Proxy], upstream: Upstream, store_server: Any
) -> None:
    one, two = proxies
    gate = hold(upstream)
    with ThreadPoolExecutor(6) as pool:
        leaders = [pool.submit(one.chat) for _ in range(3)]
        upstream.wait_for(1)
        followers = [pool.submit(two.chat, stream=number == 0) for number in range(3)]
        wait_for_follower(store_server)
        gate.open()
        answers = [answer.result() for answer in [*leaders, *followers]]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 2, "one for each shape"
    assert len(upstream.asked) == 1
    assert sum("collapsed" in answer.headers["cache-status"] for answer in answers) == 5
    assert two.chat().cache == "HIT"


def test_an_answer_that_is_not_stored_frees_the_other_proxy_at_once(
    proxies: tuple[Proxy, Proxy], upstream: Upstream, store_server: Any
) -> None:
    one, two = proxies
    gate = hold(upstream, status=429)
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(one.chat)
        upstream.wait_for(1)
        follower = pool.submit(two.chat)
        wait_for_follower(store_server)
        gate.open()
        assert (leader.result().status, follower.result().status) == (429, 429)
    assert len(upstream.asked) == 2


def test_a_proxy_that_is_killed_while_it_leads_frees_the_other(
    proxies: tuple[Proxy, Proxy], upstream: Upstream, store_server: Any
) -> None:
    one, two = proxies
    gate = hold(upstream)
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(one.chat)
        upstream.wait_for(1)
        follower = pool.submit(two.chat)
        wait_for_follower(store_server)
        one.process.kill()
        with pytest.raises(ConnectionError):
            leader.result()
        gate.open()
        assert (follower.result().status, follower.result().cache) == (200, "MISS")
    assert len(upstream.asked) == 2
    assert two.chat().cache == "HIT"


def test_a_lease_lasts_as_long_as_its_call(proxies: tuple[Proxy, Proxy], upstream: Upstream, store_server: Any) -> None:
    one, two = proxies
    gate = hold(upstream)
    with ThreadPoolExecutor(2) as pool, store_server.client() as client:
        leader = pool.submit(one.chat)
        upstream.wait_for(1)
        (lease,) = client.keys(LEASES)
        client.pexpire(lease, 4000)
        while client.pttl(lease) <= 4000:
            assert client.exists(lease), "it was not renewed"
        gate.open()
        leader.result()
        while client.exists(lease):
            pass
    assert two.chat().cache == "HIT"


def test_requests_are_answered_while_the_server_is_stopped_and_cached_when_it_is_back(
    proxies: tuple[Proxy, Proxy], upstream: Upstream, store_server: Any
) -> None:
    one, two = proxies
    assert one.chat("before").cache == "MISS"
    with ThreadPoolExecutor(8) as pool:
        load = [pool.submit(proxies[number % 2].chat, f"{number}") for number in range(100)]
        store_server.stop()
        load += [pool.submit(proxies[number % 2].chat, f"{number}") for number in range(100)]
        answers = [answer.result() for answer in load]
    assert {(answer.status, answer.json()["choices"][0]["message"]["content"]) for answer in answers} == {(200, "pong")}
    skipped = one.chat("while it is down")
    assert (skipped.cache, skipped.headers["x-computer-use-cache-store"]) == (
        "MISS",
        "skipped: the store cannot be written",
    )
    for proxy in proxies:
        assert len([line for line in proxy.log if DOWN in line]) <= 1, proxy.log
        assert not [line for line in proxy.log if "Traceback" in line]
    store_server.start()
    while one.chat("when it is back").cache != "HIT":
        pass
    while two.chat("when it is back").cache != "HIT":
        pass


def test_a_failover_under_load_fails_no_request_and_gives_no_wrong_answer(
    tmp_path: Path, upstream: Upstream, store_cluster: ValkeyCluster
) -> None:
    shared = {"CACHE_STORE_URL": store_cluster.connection_url + "?read_from_replicas=true"}

    async def echo(asked: Any, send: Any) -> None:
        await send(response(json.dumps(completion(asked.json()["messages"][-1]["content"])).encode()))

    upstream.handler = echo
    with (
        running_proxy(tmp_path / "one", upstream.url, **shared) as one,
        running_proxy(tmp_path / "two", upstream.url, **shared) as two,
    ):
        for number in range(20):
            one.chat(f"question {number}")

        def ask(number: int) -> None:
            question = f"question {number % 40}"
            answer = (one, two)[number % 2].chat(question)
            assert (answer.status, answer.json()["choices"][0]["message"]["content"]) == (200, question)

        with ThreadPoolExecutor(6) as pool:
            load = [pool.submit(ask, number) for number in range(240)]
            load[60].result()
            store_cluster.servers[0].terminate()
            for each in load:
                each.result()
        for proxy in (one, two):
            for number in range(40):
                while proxy.chat(f"question {number}").cache != "HIT":
                    pass
            warnings = [line for line in proxy.log if DOWN in line and "replica of" not in line]
            assert len(warnings) <= 1, proxy.log
            assert not [line for line in proxy.log if "Traceback" in line]
            assert proxy.ask("GET", "/readyz").status == 200
            assert shared["CACHE_STORE_URL"] == proxy.ask("GET", "/healthz").json()["cache"]["cache_dir"]


def test_the_proxy_starts_while_the_server_is_down(tmp_path: Path, upstream: Upstream, store_server: Any) -> None:
    url = store_server.connection_url
    store_server.stop()
    with running_proxy(tmp_path, upstream.url, CACHE_STORE_URL=url) as proxy:
        assert [proxy.chat().cache for _ in range(5)] == ["MISS"] * 5
        assert proxy.ask("GET", "/readyz").status == 503
        health = proxy.ask("GET", "/healthz")
        assert (health.status, health.json()["ok"]) == (200, True)
        assert url in health.json()["cache"]["error"]
        assert len([line for line in proxy.log if DOWN in line]) == 1
        store_server.start()
        while proxy.chat().cache != "HIT":
            pass


def test_an_error_of_the_upstream_is_not_stored(proxies: tuple[Proxy, Proxy], upstream: Upstream) -> None:
    one, two = proxies
    upstream.handler = always(response(b"{}", 500))
    assert (one.chat().status, two.chat().status) == (500, 500)
    assert two.stats()["entries"] == 0


def test_a_password_in_the_url_stops_the_start_and_is_not_shown(tmp_path: Path, upstream: Upstream) -> None:
    password = "hush" * 3
    with running_proxy(tmp_path, upstream.url, CACHE_STORE_URL=f"redis://:{password}@127.0.0.1") as proxy:
        assert proxy.process.wait(30) != 0
    log = "".join(proxy.log)
    assert "CACHE_STORE_PASSWORD" in log
    assert password not in log
