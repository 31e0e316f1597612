"""Where the proxy may listen: on this machine only, unless clients must show a token."""

from __future__ import annotations

import pytest
from mitmproxy.options import Options
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test.tflow import tclient_conn

from computer_use_cache.errors import SettingError
from computer_use_cache.proxy import modes


def with_modes(named: list[str], listen_host: str = "", *, server: bool = True) -> Options:
    """mitmproxy's options, with those that its own addons declare."""
    options = Options(mode=named, listen_host=listen_host)
    options.add_option("server", bool, server, "")
    options.add_option("keep_host_header", bool, False, "")
    options.add_option("proxyauth", str, "", "")
    options.add_option("connection_strategy", str, "eager", "")
    return options


UPSTREAM = "http://127.0.0.1:9"
REVERSE = f"reverse:{UPSTREAM}"
EXPOSED: dict[str, tuple[list[str], str]] = {
    "every IPv4 address": ([f"{REVERSE}@0.0.0.0:8000"], ""),
    "every IPv6 address": ([f"{REVERSE}@:::8000"], ""),
    "another name": ([f"{REVERSE}@cache.example:8000"], ""),
    "listen_host": ([REVERSE], "0.0.0.0"),
    "listen_host beside a loopback mode": ([f"{REVERSE}@127.0.0.1:8001", REVERSE], "192.0.2.1"),
    "the second of two modes": ([f"{REVERSE}@127.0.0.1:8000", f"{REVERSE}@0.0.0.0:8001"], ""),
    "beside a mode of another kind": (["regular@127.0.0.1:8080", f"{REVERSE}@0.0.0.0:8001"], ""),
}


@pytest.mark.parametrize(("named", "listen_host"), EXPOSED.values(), ids=EXPOSED)
def test_an_address_that_others_reach_needs_a_token(
    named: list[str], listen_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = with_modes(named, listen_host)
    texts = {"cache_upstream_base_url": f"{UPSTREAM}/v1"}
    monkeypatch.delenv("CACHE_CLIENT_TOKEN", raising=False)
    with pytest.raises(SettingError, match="CACHE_CLIENT_TOKEN"):
        modes.settle(options, texts)
    monkeypatch.setenv("CACHE_CLIENT_TOKEN", "token")
    assert modes.settle(options, texts)[1] is False, "and what is for this machine only is off"


@pytest.mark.parametrize(
    "named", [[REVERSE], [f"{REVERSE}@127.0.0.1:8000"], [f"{REVERSE}@::1:8000"], [REVERSE, "regular@8080"]], ids=str
)
def test_a_reverse_mode_listens_to_this_machine_and_keeps_the_name_it_was_called_by(
    named: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CACHE_CLIENT_TOKEN", raising=False)
    options = with_modes(named)
    settings, is_loopback = modes.settle(options, {"cache_upstream_base_url": f"{UPSTREAM}/v1"})
    assert is_loopback
    wanted = modes.wanted_options(options, settings)
    assert (wanted["listen_host"], wanted["keep_host_header"]) == ("127.0.0.1", True)


FORWARD = ["regular", "socks5", "upstream:http://127.0.0.1:9"]


@pytest.mark.parametrize("mode", FORWARD)
def test_a_forward_proxy_listens_to_this_machine(mode: str) -> None:
    options = with_modes([mode])
    settings, is_loopback = modes.settle(options, {})
    assert is_loopback
    assert modes.wanted_options(options, settings)["listen_host"] == "127.0.0.1"


@pytest.mark.parametrize("mode", FORWARD)
def test_a_forward_proxy_that_others_reach_needs_proxyauth(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_CLIENT_TOKEN", "token")  # it is no protection here: the provider's key has its place
    options = with_modes([f"{mode}@0.0.0.0:8080"])
    with pytest.raises(SettingError, match="proxyauth"):
        modes.settle(options, {})
    options.update(proxyauth="name:password")
    assert not modes.settle(options, {})[1]


@pytest.mark.parametrize(
    ("mode", "address", "is_allowed"),
    [
        ("regular", "127.0.0.1", True),
        ("regular", "::1", True),
        ("regular", "192.0.2.1", False),
        ("socks5", "fe80::1%eth0", False),
        ("local", "192.0.2.1", True),
    ],
)
def test_before_it_is_bound_a_forward_proxy_serves_this_machine_only(mode: str, address: str, is_allowed: bool) -> None:
    client = tclient_conn()
    client.peername, client.proxy_mode = (address, 1234), ProxyMode.parse(mode)
    assert modes.is_allowed(client, loopback=True) is is_allowed
    assert modes.is_allowed(client, loopback=False)


def test_local_redirection_is_of_this_machine_and_has_no_port() -> None:
    assert modes.settle(with_modes(["local:agent"]), {})[1]


def test_transparent_mode_is_left_as_it_is() -> None:
    options = with_modes(["transparent"])
    settings, is_loopback = modes.settle(options, {})
    assert not is_loopback
    assert modes.wanted_options(options, settings).keys() <= {
        *("connection_strategy", "tcp_timeout", "ssl_verify_upstream_trusted_ca")
    }


def test_without_a_server_nobody_else_can_ask() -> None:
    assert modes.settle(with_modes(["regular"], server=False), {})[1]


def test_a_reverse_mode_without_a_setting_gets_the_key_of_its_own_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UPSTREAM_BASE_URL", "OPENAI_BASE_URL", "UPSTREAM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENROUTER_API_KEY", "openrouter's")
    monkeypatch.setenv("OPENAI_API_KEY", "openai's")
    hosts = ("openrouter.ai", "api.openai.com", "api.anthropic.com")
    settled = [modes.settle(with_modes([f"reverse:https://{host}@127.0.0.1:8000"]), {})[0] for host in hosts]
    assert [settings.upstream_api_key for settings in settled] == ["openrouter's", "openai's", ""]
