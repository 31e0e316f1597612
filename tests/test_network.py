"""What the environment says about the way to other hosts: forward proxies and trusted authorities."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from computer_use_cache import network
from computer_use_cache.errors import SettingError
from computer_use_cache.network import Proxies, Proxy

PLAIN = Proxy("http", "p", 3128, "")


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


@pytest.mark.parametrize(
    ("environment", "scheme", "proxy"),
    [
        ({}, "https", None),
        ({"HTTPS_PROXY": ""}, "https", None),
        ({"HTTP_PROXY": "http://p:3128"}, "https", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http", PLAIN),
        ({"HTTPS_PROXY": "http://p:3128"}, "https", PLAIN),
        ({"HTTPS_PROXY": "http://p:3128"}, "http", None),
        ({"HTTPS_PROXY": "p:3128"}, "https", PLAIN),
        ({"HTTPS_PROXY": "http://p/"}, "https", Proxy("http", "p", 80, "")),
        ({"HTTPS_PROXY": "https://p"}, "https", Proxy("https", "p", 443, "")),
        ({"HTTPS_PROXY": "http://[::1]:3128"}, "https", Proxy("http", "::1", 3128, "")),
        ({"HTTPS_PROXY": "http://a%40b:c%3Ad@p:1"}, "https", Proxy("http", "p", 1, basic("a@b:c:d"))),
        ({"HTTPS_PROXY": "http://a@p:1"}, "https", Proxy("http", "p", 1, basic("a:"))),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, "https", Proxy("http", "low", 1, "")),
        ({"ALL_PROXY": "socks5://s:1", "HTTPS_PROXY": "http://p:3128", "HTTP_PROXY": "http://p:3128"}, "https", PLAIN),
        ({"all_proxy": "http://p:3128"}, "https", PLAIN),
        ({"all_proxy": "http://p:3128"}, "http", PLAIN),
    ],
)
def test_the_scheme_of_the_upstream_chooses_the_proxy(
    environment: dict[str, str], scheme: str, proxy: Proxy | None
) -> None:
    assert Proxies.from_environment(environment).find(scheme, "api.example", 443) == proxy


@pytest.mark.parametrize(
    ("exceptions", "host", "direct"),
    [
        ("", "api.example", False),
        ("", "localhost", True),
        ("", "127.0.0.1", True),
        ("", "::1", True),
        ("*", "api.example", True),
        ("api.example", "api.example", True),
        ("API.Example", "api.example", True),
        ("api.example", "API.EXAMPLE", True),
        ("other.example, api.example", "api.example", True),
        ("example", "api.example", True),
        (".example", "api.example", True),
        ("*.example", "api.example", True),
        ("ample", "api.example", False),
        ("api.example:443", "api.example", True),
        ("api.example:8443", "api.example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("fd00::/8", "fd00::5", True),
        ("[fd00::5]:443", "fd00::5", True),
        (",, ,", "api.example", False),
    ],
)
def test_no_proxy_names_the_hosts_that_are_reached_directly(exceptions: str, host: str, direct: bool) -> None:
    proxies = Proxies.from_environment({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": exceptions})
    assert (proxies.find("https", host, 443) is None) is direct


@pytest.mark.parametrize(("url", "ignored"), [("http://127.0.0.1:8080", True), ("http://127.0.0.1:3128", False)])
def test_a_proxy_never_goes_through_itself(url: str, ignored: bool) -> None:
    proxies = Proxies.from_environment({"HTTPS_PROXY": url}, own_ports={8080})
    assert (proxies.https is None) is ignored


@pytest.mark.parametrize("url", ["socks5://p:1", "ftp://p", "http://p:port", "http://a:b@", "http://[::1"])
def test_a_proxy_that_speaks_no_http_is_refused_by_the_name_of_its_variable(url: str) -> None:
    with pytest.raises(SettingError, match=r"^HTTPS_PROXY names no http:// or https:// proxy") as refused:
        Proxies.from_environment({"HTTPS_PROXY": url})
    assert "a:b" not in str(refused.value)


def test_only_the_proxy_itself_is_sent_its_credentials() -> None:
    proxies = Proxies.from_environment({"HTTPS_PROXY": "http://me:word@p:3128"})
    for address, sent in ((("p", 3128), {"proxy-authorization": basic("me:word")}), (("q", 3128), {}), (None, {})):
        headers: dict[str, str] = {}
        proxies.authorize(address, headers)
        assert headers == sent


def test_a_proxys_url_holds_no_credentials() -> None:
    assert Proxy("http", "::1", 3128, basic("a:b")).url == "http://[::1]:3128"


def pem(name: str) -> bytes:
    return f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----".encode()


@pytest.mark.parametrize("variable", [*network.BUNDLES, "NODE_EXTRA_CA_CERTS", "SSL_CERT_DIR"])
def test_every_variable_that_names_authorities_is_followed(variable: str, tmp_path: Path) -> None:
    (tmp_path / "one.pem").write_bytes(b"# a comment\n" + pem("one") + b"\n" + pem("two"))
    place = tmp_path if variable == "SSL_CERT_DIR" else tmp_path / "one.pem"
    found = network.authorities({variable: str(place)})
    assert found.count(pem("one")) == found.count(pem("two")) == 1
    assert found.startswith(network.authorities({}).rstrip())


def test_the_file_of_authorities_is_written_once_for_the_same_authorities(tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_bytes(pem("own"))
    folder = tmp_path / "mitmproxy"
    files = [
        network.write_authorities(given, folder) for given in ({}, {}, {"SSL_CERT_FILE": str(tmp_path / "own.pem")})
    ]
    assert files[0] == files[1] != files[2]
    assert sorted(folder.iterdir()) == sorted(set(files))
    assert pem("own") in files[2].read_bytes()
