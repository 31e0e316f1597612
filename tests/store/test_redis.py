"""What only the shared store has to do: leases, expiry by the server, a server that fails or harms an entry."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import free_port, isolate
from computer_use_cache.cli import main
from computer_use_cache.errors import SettingError, StoreDown, StoreError
from computer_use_cache.models import Entry, Shape
from computer_use_cache.settings import Settings
from computer_use_cache.store import codec, opening
from computer_use_cache.store.base import Store
from made import put
from tls import certificate, tls_front

redis_store = pytest.importorskip("computer_use_cache.store.redis", reason="the redis package is not installed")
redis_outages = pytest.importorskip("computer_use_cache.store.redis_outages")

PASSWORD = "hush" * 3
KEY = "ab" * 32
SERVER = "the server"
"""The name that a single server has."""


def entry(body: bytes = b"{}", key: str = KEY) -> Entry:
    return Entry(key, "chat_completions", Shape.JSON, "m", "", (), body, 1_700_000_000.0, None, 1.0)


@pytest.fixture
def make(store_server: Any) -> Iterator[Any]:
    """Opens stores on the server, one for each proxy."""
    with contextlib.ExitStack() as opened:

        def open_one() -> Any:
            store = redis_store.RedisStore(store_server.connection_url, "", 2**30)
            opened.callback(store.close)
            return store

        yield open_one


@pytest.fixture
def client(store_server: Any) -> Iterator[Any]:
    with contextlib.closing(store_server.client()) as made:
        yield made


def rest_is_over(store: Any) -> None:
    store._servers._outages._down_until = {SERVER: 0.0}


def own_keys(client: Any) -> list[str]:
    return sorted(key.decode() for key in client.keys("*"))


# -- entries


def test_the_server_expires_entries_and_their_size_goes_with_them(make: Any, client: Any) -> None:
    store = make()
    put(store, entry(), 3600.0)
    (key,) = (key for key in own_keys(client) if key.endswith(KEY))
    assert 3_590_000 < client.pttl(key) <= 3_600_000
    put(store, entry(), 0.001)
    while client.exists(key):
        pass
    assert store.get(KEY) is None
    store.maintain()
    assert (store.size().entries, store.size().bytes) == (0, 0)


def test_an_entry_that_is_put_again_without_an_end_no_longer_expires(make: Any, client: Any) -> None:
    store = make()
    put(store, entry(), 3600.0)
    put(store, entry(), None)
    assert [client.pttl(key) for key in own_keys(client) if key.endswith(KEY)] == [-1]
    assert client.zcard("computer-use-cache:1:expiry") == 0


def test_what_others_keep_on_the_server_is_left_alone(make: Any, client: Any) -> None:
    client.set("somebody's", "data")
    store = make()
    put(store, entry(), None)
    store.add_counts({"hits": 1}, {})
    assert all(key.startswith("computer-use-cache:1:") for key in own_keys(client) if key != "somebody's")
    assert store.clear() == 1
    assert client.get("somebody's") == b"data"


@pytest.mark.parametrize("harm", [lambda data: data[:-1], lambda data: b"", lambda data: b"\x80\x04N."])
def test_a_harmed_entry_is_a_miss(make: Any, client: Any, harm: Any) -> None:
    store = make()
    put(store, entry(), None)
    (name,) = (key for key in own_keys(client) if key.endswith(KEY))
    client.set(name, harm(client.get(name)))
    assert store.get(KEY) is None
    assert list(store.entries()) == []
    assert put(store, entry(), None) is True
    assert store.get(KEY) == entry()


def test_ones_own_changes_are_seen_at_once(make: Any) -> None:
    store = make()
    put(store, entry(b"1"), None)
    assert store.get(KEY) == entry(b"1")
    put(store, entry(b"2"), None)
    assert store.get(KEY) == entry(b"2")
    store.clear()
    assert store.get(KEY) is None


@pytest.mark.parametrize(
    ("change", "left"),
    [
        pytest.param(lambda store: store.delete(KEY), None, id="deleted"),
        pytest.param(lambda store: store.clear(), None, id="cleared"),
        pytest.param(lambda store: put(store, entry(b"2"), None), entry(b"2"), id="replaced"),
    ],
)
def test_a_read_that_began_before_a_change_leaves_no_copy_of_what_it_read(
    make: Any, monkeypatch: pytest.MonkeyPatch, change: Any, left: Any
) -> None:
    store = make()
    put(store, entry(b"1"), None)

    def decode_late(data: bytes) -> Any:
        monkeypatch.undo()
        change(store)
        return codec.decode(data)

    monkeypatch.setattr(codec, "decode", decode_late)
    assert store.get(KEY) == entry(b"1")
    assert store.get(KEY) == left


def test_changes_of_another_proxy_are_seen_when_the_copy_is_too_old(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = make(), make()
    put(theirs, entry(b"1"), None)
    assert mine.get(KEY) == entry(b"1")
    theirs.delete(KEY)
    assert mine.get(KEY) == entry(b"1"), "a copy"
    later = time.monotonic() + 1.1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert mine.get(KEY) is None


# -- leases


def test_a_lease_has_one_holder_until_that_one_releases_it(make: Any) -> None:
    mine, theirs = make(), make()
    assert mine.leases.take(KEY, "me") == "me"
    assert theirs.leases.take(KEY, "you") == "me"
    theirs.leases.release(KEY, "you")
    assert theirs.leases.take(KEY, "you") == "me"
    mine.leases.release(KEY, "me")
    assert theirs.leases.take(KEY, "you") == "you"


def test_a_lease_expires_unless_it_is_renewed(make: Any, client: Any) -> None:
    store = make()
    store.leases.take(KEY, "me")
    (name,) = own_keys(client)
    assert 0 < client.pttl(name) <= 10_000
    client.pexpire(name, 1000)
    store.leases.renew(KEY, "you")
    assert client.pttl(name) <= 1000, "only its holder can"
    store.leases.renew(KEY, "me")
    assert client.pttl(name) > 9000


def test_a_renewal_does_not_bring_a_released_lease_back(make: Any, client: Any) -> None:
    store = make()
    store.leases.take(KEY, "me")
    store.leases.release(KEY, "me")
    store.leases.renew(KEY, "me")
    assert own_keys(client) == []


# -- a server that fails


def test_a_server_that_is_down_is_reported_once_and_then_left_alone(
    make: Any, store_server: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    store = make()
    put(store, entry(), None)
    store_server.stop()
    for _ in range(50):
        with pytest.raises(StoreDown):
            store.get(KEY)
    monkeypatch.setattr(redis_outages, "_REST_SECONDS", 0.0)
    rest_is_over(store)
    for _ in range(50):
        with pytest.raises(StoreDown):
            put(store, entry(), None)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    store_server.start()
    assert store.get(KEY) is None
    assert put(store, entry(), None) is False
    assert store.get(KEY) == entry()
    assert [record.getMessage() for record in caplog.records if "answers again" in record.getMessage()] != []


def test_connections_from_before_a_restart_of_the_server_are_replaced(make: Any, store_server: Any) -> None:
    store = make()
    put(store, entry(), None)
    store_server.stop()
    store_server.start()
    assert put(store, entry(), None) is False
    assert store.get(KEY) == entry()


def test_while_a_server_hangs_one_call_waits_and_the_others_fail_at_once(
    make: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    store.probe()
    monkeypatch.setattr(redis_outages, "_REST_SECONDS", 3600.0)
    process = client.info()["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        with pytest.raises(StoreDown, match="imeout"):
            store.get(KEY)
        for _ in range(1000):
            with pytest.raises(StoreDown, match="a moment ago"):
                store.get(KEY)
    finally:
        os.kill(process, signal.SIGCONT)


def test_after_a_rest_one_thread_tries_and_the_others_go_on_resting(make: Any) -> None:
    store = make()
    put(store, entry(), None)
    store._servers._outages.begin(SERVER, ConnectionError())
    rest_is_over(store)
    assert store._servers._outages.is_trial(SERVER)  # this is the one that tries
    refused = []

    def ask() -> None:
        try:
            store.get(KEY)
        except StoreDown:
            refused.append(True)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 4


def test_an_answer_to_what_was_asked_before_the_server_went_down_does_not_call_it_up(
    make: Any, store_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = make()
    with store._servers.at(KEY):  # a call that is answered while another one finds the server gone
        store_server.stop()
        with pytest.raises(StoreDown):
            store.get(KEY)
    with pytest.raises(StoreDown, match="a moment ago"):
        store.get(KEY)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


def test_a_server_that_became_a_replica_is_down_until_the_address_leads_to_a_primary(
    make: Any, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = make()
    put(store, entry(), None)
    before = client.info("clients")["connected_clients"]
    client.replicaof("127.0.0.1", free_port())
    try:
        with pytest.raises(StoreDown, match="read only"):
            put(store, entry(b"2"), None)
        while client.info("clients")["connected_clients"] >= before:  # the next call connects anew
            pass
    finally:
        client.replicaof("NO", "ONE")
    rest_is_over(store)
    assert put(store, entry(b"2"), None) is True
    assert len([record for record in caplog.records if record.name == redis_outages.__name__]) == 2


def test_a_refusal_quotes_the_server_and_is_not_an_outage(make: Any, client: Any) -> None:
    store = make()
    client.set("computer-use-cache:1:counters", "not a table")
    with pytest.raises(StoreError, match="WRONGTYPE") as caught:
        store.counts()
    assert not isinstance(caught.value, StoreDown)
    put(store, entry(), None)


# -- the setting


def opened(url: str, password: str = "") -> Store:
    return opening.open_store(Settings.load({"CACHE_STORE_URL": url, "CACHE_STORE_PASSWORD": password}))


def test_the_password_comes_from_the_environment_and_is_in_no_message(store_server: Any, client: Any) -> None:
    client.config_set("requirepass", PASSWORD)
    try:
        with contextlib.closing(opened(store_server.connection_url, PASSWORD)) as store:
            store.probe()
        with (
            contextlib.closing(opened(store_server.connection_url, PASSWORD + "x")) as store,
            pytest.raises(StoreDown) as caught,
        ):
            store.probe()
    finally:
        client.config_set("requirepass", "")
    assert PASSWORD not in str(caught.value)
    assert "CACHE_STORE_PASSWORD" in str(caught.value)


def test_a_user_with_the_rights_that_the_readme_names_can_do_everything(store_server: Any, client: Any) -> None:
    rights = "+@read +@write +@scripting +@connection +time"
    assert f"`{rights}`" in (Path(__file__).parents[2] / "addon" / "README.md").read_text(encoding="utf-8")
    client.execute_command(
        "ACL", "SETUSER", "team", "reset", "on", f">{PASSWORD}", "~computer-use-cache:1:*", *rights.split()
    )
    url = store_server.connection_url.replace("//", "//team@")
    with contextlib.closing(opened(url, PASSWORD)) as store:
        store.probe()
        put(store, entry(), 3600.0)
        assert store.get(KEY) == entry()
        store.add_counts({"hits": 1}, {"last": 1.0})
        assert (store.counts(), store.size().entries) == ({"hits": 1, "last": 1.0}, 1)
        store.maintain()
        assert list(store.entries()) == [entry()]
        assert store.clear() == 1
        leases = store.leases
        assert leases
        assert leases.take(KEY, "me") == "me"
        leases.renew(KEY, "me")
        leases.release(KEY, "me")
    client.execute_command("ACL", "DELUSER", "team")


def test_a_connection_by_tls_is_made_to_a_server_that_proves_its_name_only(
    store_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failure(host: str) -> str:
        with contextlib.closing(opened(f"rediss://{host}:{port}")) as store, pytest.raises(StoreDown) as caught:
            store.probe()
        return str(caught.value)

    with tls_front(store_server.port, certificate(tmp_path)) as port:
        assert "CERTIFICATE_VERIFY_FAILED" in failure("localhost"), "nobody vouches for it"
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
        assert "IP address mismatch" in failure("127.0.0.1")
        with contextlib.closing(opened(f"rediss://localhost:{port}")) as store:
            put(store, entry(), None)
            assert store.get(KEY) == entry()


def test_a_server_that_is_down_stops_no_start_and_is_named(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    store = opened(url)
    with pytest.raises(StoreDown, match=url):
        store.probe()


def test_the_command_line_works_on_the_shared_store(
    make: Any, store_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("CACHE_STORE_URL", store_server.connection_url)
    put(make(), entry(), None)
    assert main(["stats", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert (counted["entries"], counted["cache_dir"]) == (1, store_server.connection_url)
    assert main(["clear", "--yes"]) == 0
    assert "Removed 1 entry" in capsys.readouterr().out
    monkeypatch.setenv("CACHE_MODE", "offline")
    assert main(["doctor", "--json"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_how_to_install_it() -> None:
    script = (
        "import sys; sys.modules['redis'] = None\n"
        "from computer_use_cache.settings import Settings\n"
        "from computer_use_cache.store.opening import open_store\n"
        "open_store(Settings.load({'CACHE_STORE_URL': 'redis://127.0.0.1'}))\n"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "addon")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert SettingError.__name__ in done.stderr
    assert "pip install '.[redis]'" in done.stderr
