"""What only a store on a cluster has to do: entries on all primaries, replicas that read, a primary that fails."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from commands import free_port
from computer_use_cache.errors import StoreDown
from computer_use_cache.settings import Settings
from computer_use_cache.store import opening
from computer_use_cache.store.base import Store
from made import entry, put, record
from valkey_cluster import ValkeyCluster

redis_outages = pytest.importorskip("computer_use_cache.store.redis_outages", reason="the redis package is missing")
key_slot = pytest.importorskip("redis.crc").key_slot

NUMBER = 3
"""The number of an entry on the first primary, which has a replica."""
KEY = entry(NUMBER).key
SOME = [entry(number) for number in range(40)]
"""Entries on all of the primaries."""


@pytest.fixture
def make(store_cluster: ValkeyCluster) -> Iterator[Any]:
    """Opens stores on the cluster, one for each proxy."""
    with contextlib.ExitStack() as opened:

        def open_one(query: str = "", **changes: str) -> Store:
            given = {"CACHE_STORE_URL": store_cluster.connection_url + query, **changes}
            return opened.enter_context(contextlib.closing(opening.open_store(Settings.load(given))))

        yield open_one


def test_every_primary_has_a_share_of_the_entries_and_all_names_begin_alike(
    make: Any, store_cluster: ValkeyCluster
) -> None:
    store = make()
    for each in SOME:
        put(store, each, None, record(NUMBER, 1, 2))
    shares = [len([name for name in client.keys("*") if b":entry:" in name]) for client in store_cluster.primaries()]
    assert len(shares) == 3
    assert min(shares) > 0
    assert sum(shares) == len(SOME)
    assert all(name.startswith("computer-use-cache:1:") for name in store_cluster.names())
    assert list(store.entries()) == SOME[::-1]


def test_the_layout_does_not_change(make: Any, store_cluster: ValkeyCluster) -> None:
    put(make(), entry(NUMBER, template="t"), None, record(NUMBER, 7))
    tag = "computer-use-cache:1:{43}:"
    tables = ("order", "sizes", "template:t", "templates", "totals", f"entry:{KEY}", f"request:{KEY}")
    assert store_cluster.names() == sorted([*(tag + name for name in tables), "computer-use-cache:1:part:7"])


def test_a_user_with_the_rights_that_the_readme_names_can_do_everything(
    make: Any, store_cluster: ValkeyCluster
) -> None:
    rights = "+@read +@write +@scripting +@connection +time"
    more = "+cluster|slots"
    text = (Path(__file__).parents[2] / "addon" / "README.md").read_text(encoding="utf-8")
    assert f"`{rights}`" in text
    assert f"`{more}`" in text
    password = "hush" * 3
    for client in store_cluster.clients():
        client.execute_command(
            "ACL",
            "SETUSER",
            "team",
            "reset",
            "on",
            f">{password}",
            "~computer-use-cache:1:*",
            *rights.split(),
            more,
        )
    url = store_cluster.connection_url.replace("//", "//team@") + "?read_from_replicas=true"
    store = make(CACHE_STORE_URL=url, CACHE_STORE_PASSWORD=password)
    store.probe()
    for each in SOME:
        put(store, each, 3600.0, record(NUMBER, 1))
    assert make("?read_from_replicas=true").get(KEY) == entry(NUMBER)
    store.maintain()
    assert store.clear() == len(SOME)
    leases = store.leases
    assert leases
    assert leases.take(KEY, "me") == "me"


# -- replicas


def wait_for_copy(cluster: ValkeyCluster) -> None:
    """Return when the replica has what its primary has."""
    primary, replica = cluster.servers[0].client(), cluster.servers[3].client()
    while replica.info("replication")["slave_repl_offset"] < primary.info("replication")["master_repl_offset"]:
        pass


@contextlib.contextmanager
def lagging_replica(cluster: ValkeyCluster) -> Iterator[None]:
    """The replica learns nothing new: it does not know its primary's new password."""
    wait_for_copy(cluster)
    primary = cluster.servers[0].client()
    primary.config_set("requirepass", "hush" * 3)
    primary.execute_command("CLIENT", "KILL", "TYPE", "replica")
    try:
        yield
    finally:
        primary.config_set("requirepass", "")
        cluster.wait_until_whole()


def test_a_replica_sends_the_entries_of_its_primary(make: Any, store_cluster: ValkeyCluster) -> None:
    put(make(), entry(NUMBER), None)
    wait_for_copy(store_cluster)
    replica = store_cluster.servers[3].client()
    replica.config_resetstat()
    assert make("?read_from_replicas=true").get(KEY) == entry(NUMBER)
    assert replica.info("commandstats")["cmdstat_get"]["calls"] == 1


@pytest.mark.parametrize("change", ["deleted", "cleared", "replaced"])
def test_a_replica_that_lags_brings_nothing_back(
    make: Any, store_cluster: ValkeyCluster, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    mine, theirs = make("?read_from_replicas=true"), make()
    put(mine, entry(NUMBER), None)
    theirs.get(KEY)
    (name,) = (name for name in store_cluster.names() if ":entry:" in name)
    replica = store_cluster.servers[3].client()
    replica.readonly()
    with lagging_replica(store_cluster):
        match change:
            case "deleted":
                assert theirs.delete(KEY)
            case "cleared":
                assert theirs.clear() == 1
            case _:
                assert put(theirs, entry(NUMBER, body=b"new"), None)
        assert replica.get(name) is not None, "it lags"
        assert mine.get(KEY) == (entry(NUMBER, body=b"new") if change == "replaced" else None)
        assert ("has not confirmed a delete" in caplog.text) == (change != "replaced")


def test_while_a_replica_hangs_its_primary_is_read(
    make: Any, store_cluster: ValkeyCluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_outages, "_REST_SECONDS", 3600.0)
    store = make("?read_from_replicas=true")
    some = [each for each in SOME if put(store, each, None) is False]
    process = store_cluster.servers[3].client().info()["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        assert [store.get(each.key) for each in some] == some
    finally:
        os.kill(process, signal.SIGCONT)
    assert [record.getMessage().split(" does")[0] for record in caplog.records] == [
        f"a replica of the store at {store_cluster.connection_url}?read_from_replicas=true"
    ]


# -- a primary that fails


def test_a_failover_loses_no_count_and_gives_no_wrong_answer_and_is_reported_once(
    make: Any, store_cluster: ValkeyCluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_outages, "_REST_SECONDS", 0.05)
    caplog.set_level(logging.INFO)
    store, other = make(), make("?read_from_replicas=true")
    for each in SOME:
        put(store, each, None)
    wait_for_copy(store_cluster)
    store.delete(KEY)
    kept = [each for each in SOME if each.key != KEY]

    def until_it_answers(ask: Any) -> Any:
        while True:
            with contextlib.suppress(StoreDown):
                return ask()

    def work(number: int) -> None:
        used = (store, other)[number % 2]
        for each in kept:
            assert until_it_answers(lambda: used.get(each.key)) == each  # noqa: B023  # called at once
            assert until_it_answers(lambda: put(used, each, None)) is True  # noqa: B023
        until_it_answers(lambda: used.add_counts({"hits": 1}, {}))

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, number) for number in range(4)]
        store_cluster.servers[0].terminate()
        for worker in workers:
            worker.result()
    assert store.counts() == {"hits": 4.0}
    assert until_it_answers(lambda: store.get(KEY)) is None
    assert until_it_answers(store.size).entries == len(kept)
    told = [record.getMessage() for record in caplog.records if record.name == redis_outages.__name__]
    assert sum("requests go upstream" in line for line in told) == 2, told
    assert sum("answers again" in line for line in told) == 2, told


def test_while_one_primary_is_down_the_others_answer(
    make: Any, store_cluster: ValkeyCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_outages, "_REST_SECONDS", 3600.0)
    store = make()
    for each in SOME:
        put(store, each, None)
    process = store_cluster.servers[1].client().info()["process_id"]
    os.kill(process, signal.SIGSTOP)
    found = []
    try:
        for each in SOME:
            with contextlib.suppress(StoreDown):
                found.append(store.get(each.key))
        its_parts_are_everywhere = record(NUMBER, *range(20))
        assert put(store, entry(NUMBER, body=b"new"), None, its_parts_are_everywhere) is True, "its primary answers"
        assert store.get(KEY) == entry(NUMBER, body=b"new")
    finally:
        os.kill(process, signal.SIGCONT)
        store_cluster.wait_until_whole()
    assert found
    assert len(found) < len(SOME)


@pytest.mark.parametrize("is_known_to", ["its server", "all"])
def test_a_slot_that_nobody_serves_is_no_outage_of_the_others(
    make: Any, store_cluster: ValkeyCluster, is_known_to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_outages, "_REST_SECONDS", 3600.0)
    store, owner = make(), store_cluster.servers[1].client()
    for each in SOME:
        put(store, each, None)
    name = next(name for name in owner.keys("*") if b":entry:" in name).decode()
    slot = key_slot(name.encode())
    for client in store_cluster.primaries() if is_known_to == "all" else (owner,):
        client.execute_command("CLUSTER", "DELSLOTS", slot)
    try:
        reader = make()
        for _ in range(2):
            with pytest.raises(StoreDown):
                reader.get(name.rpartition(":")[2])
        others = [each for each in SOME if key_slot(reader._entry(each.key).encode()) != slot]
        assert [reader.get(each.key) for each in others] == others
        its_parts_are_everywhere = record(NUMBER, *range(20), part_of(slot))
        assert put(reader, entry(NUMBER, body=b"new"), None, its_parts_are_everywhere) is True
    finally:
        owner.execute_command("CLUSTER", "ADDSLOTS", slot)
        store_cluster.wait_until_whole()


def part_of(slot: int) -> int:
    """A part of a request that is kept in this slot."""
    return next(part for part in range(10**6) if key_slot(f"computer-use-cache:1:part:{part:x}".encode()) == slot)


def test_a_cluster_that_is_down_stops_no_start_and_is_named(make: Any) -> None:
    url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    store = make(CACHE_STORE_URL=url)
    for _ in range(3):
        with pytest.raises(StoreDown, match=url.replace("+", r"\+")):
            store.get(KEY)
