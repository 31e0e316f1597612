"""Who is let in: the client by its token, the caller by the Host it names, a web page by its origin."""

from __future__ import annotations

import pytest

from computer_use_cache.errors import RequestError
from computer_use_cache.proxy.guard import (
    check_admin,
    check_client,
    check_host,
    check_method,
    check_origin,
    host_of,
    is_loopback,
    is_own_websocket,
)
from computer_use_cache.settings import Settings

TOKENS = Settings.load({"CACHE_CLIENT_TOKEN": "ann:one,bob:two"})
TOKEN = Settings.load({"CACHE_CLIENT_TOKEN": "one"})
OPEN = Settings.load({})


@pytest.mark.parametrize(
    ("settings", "headers", "query", "client"),
    [
        (TOKEN, {"authorization": "Bearer one"}, {}, ""),
        (TOKENS, {"authorization": "Bearer one"}, {}, "ann"),
        (TOKENS, {"authorization": "bearer one"}, {}, "ann"),
        (TOKENS, {"authorization": "Bearer two"}, {}, "bob"),
        (TOKENS, {"x-api-key": "two"}, {}, "bob"),
        (TOKENS, {"x-goog-api-key": "two"}, {}, "bob"),
        (TOKENS, {}, {"key": "two"}, "bob"),
    ],
)
def test_a_client_is_known_by_its_token(
    settings: Settings, headers: dict[str, str], query: dict[str, str], client: str
) -> None:
    assert check_client(headers, tuple(query.items()), settings) == client


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, {}),
        ({"authorization": "Bearer "}, {}),
        ({"authorization": "Bearer three"}, {}),
        ({"authorization": "Bearer ann:one"}, {}),
        ({"authorization": "Bearer one two"}, {}),
        ({"authorization": "Bearer on\udcff"}, {}),
        ({"authorization": "Bearer one\u0430"}, {}),
        ({"authorization": "Basic one"}, {}),
        ({"cookie": "one"}, {}),
        ({}, {"key": "three"}),
    ],
)
@pytest.mark.parametrize("settings", [TOKEN, TOKENS], ids=["one token", "tokens"])
def test_a_client_without_a_token_is_refused(
    settings: Settings, headers: dict[str, str], query: dict[str, str]
) -> None:
    with pytest.raises(RequestError) as caught:
        check_client(headers, tuple(query.items()), settings)
    assert caught.value.status == 401
    assert "CACHE_CLIENT_TOKEN" in caught.value.message


ADMIN = Settings.load({"CACHE_ADMIN_TOKEN": "root"})


@pytest.mark.parametrize("loopback", [True, False])
@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer root"},
        {"authorization": "bearer root"},
        {"x-cache-admin-token": "root"},
        {"x-cache-admin-token": "root", "authorization": "Bearer client"},
    ],
    ids=str,
)
def test_the_admin_token_admits(headers: dict[str, str], loopback: bool) -> None:
    check_admin(headers, ADMIN, loopback=loopback)


@pytest.mark.parametrize("loopback", [True, False])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer Root"},
        {"authorization": "Bearer "},
        {"x-cache-admin-token": "no", "authorization": "Bearer root"},
        {"x-cache-admin-token": "root\udcff"},
    ],
    ids=ascii,
)
def test_anything_but_the_admin_token_does_not(headers: dict[str, str], loopback: bool) -> None:
    with pytest.raises(RequestError) as caught:
        check_admin(headers, ADMIN, loopback=loopback)
    assert caught.value.status == 401


def test_without_an_admin_token_a_cache_is_administered_on_loopback_only() -> None:
    check_admin({}, OPEN, loopback=True)
    with pytest.raises(RequestError, match="CACHE_ADMIN_TOKEN") as caught:
        check_admin({"authorization": "Bearer x"}, OPEN, loopback=False)
    assert caught.value.status == 403


NAMED = Settings.load({"CACHE_ALLOWED_HOSTS": "cache.lan, Mixed.Lan"})
HOSTS = [
    ("127.0.0.1:8000", True),
    ("127.5.5.5", True),
    ("localhost", True),
    ("LOCALHOST:8000", True),
    ("agent.localhost:8000", True),
    ("[::1]:8000", True),
    ("[::1]", True),
    ("10.0.0.5:8000", True),
    ("cache.lan:8000", True),
    ("CACHE.lan", True),
    ("mixed.lan", True),
    ("evil.example", False),
    ("evil.example:8000", False),
    ("localhost.evil.example", False),
    ("127.0.0.1.evil.example", False),
    ("notlocalhost", False),
    ("10.0.0.6:8000", False),
    ("0.0.0.0:8000", False),
    ("cache.lan.evil.example", False),
    ("cache.lan@evil.example", False),
    ("localhost:8000@evil.example", False),
    ("user@localhost", False),
    ("localhost/evil.example", False),
    ("localhost\\evil.example", False),
    ("localhost#evil.example", False),
    ("localhost evil.example", False),
    ("localhost,evil.example", False),
    ("localhost:80:80", False),
    ("localhost:port", False),
    ("localhost:+80", False),
    ("localhost.", False),
    ("127.0.0.1.", False),
    ("%6cocalhost", False),
    ("loc\u0430lhost", False),
    ("127.1", False),
    ("0x7f.0.0.1", False),
    ("2130706433", False),
    ("[::1", False),
    ("[::1]evil.example", False),
    ("[::1]@evil.example", False),
    ("::1", False),
    ("[::]", False),
    ("[fe80::1%25eth0]", False),
    ("[evil.example]", False),
    ("", False),
]


@pytest.mark.parametrize(("authority", "is_answered"), HOSTS)
def test_the_proxy_answers_to_its_own_names_only(authority: str, is_answered: bool) -> None:
    for authorities in ((authority,), ("localhost", authority), (authority, "localhost")):
        if is_answered:
            check_host(authorities, "10.0.0.5", NAMED)
        else:
            with pytest.raises(RequestError) as caught:
                check_host(authorities, "10.0.0.5", NAMED)
            assert caught.value.status == 403


PAGES = Settings.load({"CORS_ALLOW_ORIGIN": "http://localhost:3000,https://app.example"})
ANY_PAGE = Settings.load({"CORS_ALLOW_ORIGIN": "*"})


@pytest.mark.parametrize(
    ("settings", "origin", "is_allowed"),
    [
        (OPEN, None, True),
        (OPEN, "http://localhost:8000", False),
        (OPEN, "http://127.0.0.1:8000", False),
        (OPEN, "https://evil.example", False),
        (OPEN, "null", False),
        (OPEN, "", False),
        (PAGES, "http://localhost:3000", True),
        (PAGES, "https://app.example", True),
        (PAGES, "http://app.example", False),
        (PAGES, "http://localhost:3001", False),
        (PAGES, "https://app.example.evil.example", False),
        (PAGES, "null", False),
        (ANY_PAGE, "https://evil.example", True),
        (ANY_PAGE, "null", False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_a_page_is_let_in_by_its_origin(settings: Settings, origin: str | None, is_allowed: bool, method: str) -> None:
    headers = {} if origin is None else {"origin": origin}
    if is_allowed:
        check_origin(method, "/v1/models", headers, settings)
    else:
        with pytest.raises(RequestError, match="CORS_ALLOW_ORIGIN") as caught:
            check_origin(method, "/v1/models", headers, settings)
        assert caught.value.status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything new"])
def test_a_page_that_sends_no_origin_is_recognised_by_other_headers_of_the_browser(site: str) -> None:
    """An image or a script of a page: the browser sends a GET without Origin."""
    with pytest.raises(RequestError, match="another site") as caught:
        check_origin("GET", "/v1/models", {"sec-fetch-site": site}, PAGES)
    assert caught.value.status == 403
    check_origin("GET", "/healthz", {"sec-fetch-site": site}, OPEN)
    check_origin("GET", "/v1/models", {"sec-fetch-site": site, "origin": "https://app.example"}, PAGES)


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_the_address_bar_is_no_page(site: str) -> None:
    check_origin("GET", "/cache/stats", {"sec-fetch-site": site}, OPEN)


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({"origin": "http://localhost:8000", "host": "localhost:8000", "upgrade": "websocket"}, True),
        ({"origin": "https://API.example", "host": "api.example", "upgrade": "WebSocket"}, True),
        ({"origin": "http://localhost:8000", "host": "localhost:8000"}, False),
        ({"origin": "http://localhost:3000", "host": "localhost:8000", "upgrade": "websocket"}, False),
        ({"origin": "http://localhost", "host": "localhost:8000", "upgrade": "websocket"}, False),
        ({"origin": "null", "host": "null", "upgrade": "websocket"}, False),
        ({"origin": "", "host": "", "upgrade": "websocket"}, False),
        ({"host": "localhost:8000", "upgrade": "websocket"}, False),
    ],
)
def test_a_websocket_may_name_its_own_server_as_its_origin(headers: dict[str, str], is_own: bool) -> None:
    assert is_own_websocket(headers) is is_own


@pytest.mark.parametrize("method", ["TRACE", "trace", "TRACK"])
def test_a_method_that_shows_what_was_sent_is_refused(method: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_method(method)
    assert caught.value.status == 405


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_any_page_may_see_whether_the_proxy_is_up_and_no_more(origin: str) -> None:
    check_origin("GET", "/healthz", {"origin": origin}, OPEN)
    check_origin("HEAD", "/healthz", {"origin": origin}, OPEN)
    for method, path in (("POST", "/healthz"), ("GET", "/healthz/"), ("GET", "/stats")):
        with pytest.raises(RequestError):
            check_origin(method, path, {"origin": origin}, OPEN)


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("h", "h"),
        ("H:80", "h"),
        ("h:", "h"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("[FE80::1]", "fe80::1"),
        ("[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1"),
        ("", ""),
        (":80", ""),
        ("h@g", ""),
        ("h:80@g", ""),
    ],
)
def test_the_host_of_an_authority(authority: str, host: str) -> None:
    assert host_of(authority) == host


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("127.0.0.1.example", False),
        ("127.1", False),
        ("", False),
    ],
)
def test_loopback_names_and_addresses(host: str, is_own: bool) -> None:
    assert is_loopback(host) is is_own
