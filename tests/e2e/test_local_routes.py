"""What the proxy answers itself, and to whom."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import quote

import pytest

from support import FAKE_KEY, Proxy, Upstream, running_proxy

ADMIN = "-".join(("admin", "token"))


def test_the_root_names_the_cache_and_its_upstream(proxy: Proxy, upstream: Upstream) -> None:
    about = proxy.ask("GET", "/").json()
    assert (about["name"], about["status"]) == ("computer-use-cache", "ok")
    assert about["upstream_base_url"] == upstream.url
    assert "/v1/chat/completions" in about["endpoints"]


def test_health_and_statistics_keep_the_originals_fields(proxy: Proxy) -> None:
    proxy.chat()
    proxy.chat()
    health = proxy.ask("GET", "/healthz").json()
    assert health["ok"] is True
    assert health["cache"] == proxy.ask("GET", "/stats").json() == proxy.stats()
    stats = health["cache"]
    assert (stats["entries"], stats["hits"], stats["ttl_seconds"]) == (1, 1, 2592000)
    assert stats["bytes"] > 0
    assert stats["last_updated_at"] > 1_700_000_000
    assert stats["cache_dir"].endswith("store")
    assert proxy.ask("GET", "/readyz").json() == {"ok": True}


def test_metrics_are_prometheus_text(proxy: Proxy) -> None:
    proxy.chat()
    text = proxy.ask("GET", "/metrics").body.decode()
    assert "# HELP computer_use_cache_requests_total " in text
    assert 'computer_use_cache_requests_total{outcome="misses"} 1.0' in text


def test_clearing_takes_all_or_what_is_chosen(proxy: Proxy) -> None:
    def fill() -> None:
        proxy.chat("a")
        proxy.chat("b", headers={"X-Cache-Namespace": "run"})
        proxy.post("/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "c"}]})

    for wish, deleted in (
        ({"model": "other"}, 1),
        ({"namespace": "run"}, 1),
        ({"older_than": 3600}, 0),
        ({"older_than": 0, "model": "gpt-test", "namespace": ""}, 1),
        ({}, 3),
    ):
        fill()
        assert proxy.post("/cache/clear", wish).json() == {"ok": True, "deleted": deleted}
    assert proxy.stats()["entries"] == 0
    fill()
    assert proxy.ask("POST", "/cache/clear?model=other").json()["deleted"] == 1


@pytest.mark.parametrize(
    "wish",
    [
        *({"modell": "x"}, {"model": 5}, ["model"]),
        *({"older_than": "soon"}, {"older_than": -1}, {"older_than": 10**400}, {"older_than": "1" * 5000}),
    ],
)
def test_a_wish_that_is_not_understood_clears_nothing(proxy: Proxy, wish: object) -> None:
    proxy.chat()
    assert proxy.post("/cache/clear", wish).status == 400
    assert proxy.stats()["entries"] == 1


def test_entries_are_listed_newest_first_in_pages_shown_and_deleted(proxy: Proxy) -> None:
    keys = [proxy.chat(str(number)).headers["x-computer-use-cache-key"] for number in range(5)][::-1]
    listed: list[str] = []
    path = "/cache/entries?limit=2"
    while path:
        page = proxy.ask("GET", path).json()
        assert len(page["entries"]) <= 2
        listed += [entry["key"] for entry in page["entries"]]
        path = page["next"]
    assert listed == keys
    entry = proxy.ask("GET", f"/cache/entries/{keys[0]}").json()
    assert (entry["model"], entry["format"]) == ("gpt-test", "chat_completions")
    assert "pong" in entry["body"]
    assert proxy.ask("DELETE", f"/cache/entries/{keys[0]}").json() == {"ok": True, "deleted": 1}
    assert proxy.ask("GET", f"/cache/entries/{keys[0]}").status == 404
    assert proxy.chat("4").cache == "MISS"


def test_a_page_of_entries_has_a_reasonable_size(proxy: Proxy) -> None:
    for limit in ("0", "1001", "-1", "many", "", "\u0663", "9" * 5000):
        assert proxy.ask("GET", "/cache/entries?limit=" + quote(limit)).status == 400, limit


def test_an_answer_is_taken_back_and_the_next_call_asks_upstream(proxy: Proxy, upstream: Upstream) -> None:
    key = proxy.chat("one").headers["x-computer-use-cache-key"]
    other = proxy.chat("other")
    assert proxy.chat("one").cache == "HIT"
    assert proxy.ask("POST", f"/cache/entries/{key}/reject").json() == {"ok": True, "deleted": 1}
    assert proxy.ask("POST", f"/cache/entries/{key}/reject").status == 404
    assert [proxy.chat("one").cache for _ in range(2)] == ["MISS", "HIT"]
    assert proxy.chat("other").body == other.body
    assert len(upstream.asked) == 3


def test_a_request_takes_back_an_answer_it_names(proxy: Proxy, upstream: Upstream) -> None:
    key = proxy.chat("one").headers["x-computer-use-cache-key"]
    other = proxy.chat("other").headers["x-computer-use-cache-key"]
    assert [proxy.chat(text).cache for text in ("one", "one", "other")] == ["HIT", "HIT", "HIT"]
    again = proxy.chat("one", {"X-Cache-Reject": key})
    assert (again.cache, again.headers["x-computer-use-cache-key"]) == ("MISS", key)
    assert [proxy.chat("one").cache, proxy.chat("other").cache] == ["HIT", "HIT"]
    assert proxy.chat("one", {"X-Cache-Reject": other}).cache == "HIT", "the answer to another question is taken back"
    assert proxy.chat("other").cache == "MISS"
    assert proxy.chat("one", {"X-Cache-Reject": "0" * 64}).cache == "HIT"
    assert not any("x-cache-reject" in asked.headers for asked in upstream.asked)


@pytest.mark.parametrize("mode", ["readonly", "offline", "off"])
def test_nothing_is_taken_back_where_the_mode_writes_nothing(proxy: Proxy, mode: str) -> None:
    key = proxy.chat("one").headers["x-computer-use-cache-key"]
    refused = proxy.chat("one", {"X-Cache-Reject": key, "X-Cache-Mode": mode})
    assert (refused.status, "X-Cache-Reject" in refused.json()["error"]["message"]) == (400, True)
    assert proxy.chat("one").cache == "HIT"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("GET", "/cache/clear", "POST"),
        ("DELETE", "/cache/entries", "GET, HEAD"),
        ("POST", "/cache/entries/x", "GET, HEAD, DELETE"),
        ("DELETE", "/cache/entries/x/reject", "POST"),
    ],
)
def test_another_method_on_a_local_route_is_refused_and_goes_nowhere(
    proxy: Proxy, upstream: Upstream, method: str, path: str, allowed: str
) -> None:
    answer = proxy.ask(method, path)
    assert (answer.status, answer.headers.get("allow")) == (405, allowed)
    assert upstream.asked == []


ADMIN_ROUTES = [
    ("POST", "/cache/clear"),
    ("GET", "/cache/entries"),
    ("DELETE", "/cache/entries/x"),
    ("POST", "/cache/entries/x/reject"),
]


def test_administration_needs_the_admin_token_when_one_is_set(tmp_path: Path, upstream: Upstream) -> None:
    with running_proxy(tmp_path, upstream.url, CACHE_ADMIN_TOKEN=ADMIN) as proxy:
        proxy.chat()
        for method, path in ADMIN_ROUTES:
            for headers in ({}, {"X-Cache-Admin-Token": ADMIN + "x"}, {"Authorization": f"Bearer {FAKE_KEY}"}):
                answer = proxy.ask(method, path, headers=headers)
                assert (answer.status, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert proxy.stats()["entries"] == 1
        for headers in ({"X-Cache-Admin-Token": ADMIN}, {"Authorization": f"Bearer {ADMIN}"}):
            assert proxy.ask("POST", "/cache/clear", headers=headers).status == 200


def test_clients_need_their_token_and_it_stays_here(tmp_path: Path, upstream: Upstream) -> None:
    ann, bob = "-".join(("ann", "secret")), "-".join(("bob", "secret"))
    with running_proxy(tmp_path, upstream.url, CACHE_CLIENT_TOKEN=f"ann:{ann},bob:{bob}") as proxy:
        assert proxy.chat().status == proxy.ask("GET", "/cache/stats").status == 401
        assert proxy.ask("GET", "/healthz").json() == {"ok": True}, "and nothing of the cache, to whom it does not know"
        assert "cache" in proxy.ask("GET", "/healthz", headers={"x-api-key": ann}).json()
        answers = [proxy.chat(headers={"authorization": f"Bearer {token}"}).cache for token in (ann, ann, bob, bob)]
        assert answers == ["MISS", "HIT", "MISS", "HIT"], "each client has entries of its own"
        messages = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        assert proxy.ask("POST", "/v1/messages", b"{", {"x-api-key": ann}).status == 400
        assert proxy.post("/v1/messages", messages, {"authorization": "", "x-api-key": bob}).status == 200
    for asked in upstream.asked:
        assert not {"authorization", "x-api-key"} & asked.headers.keys()
    stored = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    assert ann.encode() not in stored


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "169.254.1.1", ""])
def test_a_foreign_host_name_is_refused(proxy: Proxy, upstream: Upstream, host: str) -> None:
    for method, path in (
        ("GET", "/"),
        ("POST", "/cache/clear"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
    ):
        assert proxy.ask(method, path, headers={"Host": host}).status in (400, 403)
    assert upstream.asked == []


def test_plain_mitmdump_that_names_no_address_listens_on_loopback_only(tmp_path: Path, upstream: Upstream) -> None:
    with running_proxy(tmp_path, upstream.url, "--listen-port", "0", listen="") as proxy:
        assert proxy.chat().status == 200
        for address in {found[4][0] for found in socket.getaddrinfo(socket.gethostname(), proxy.port)} - {"127.0.0.1"}:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family) as other, pytest.raises(OSError, match=r"refused|unreachable|assign"):
                other.connect((address, proxy.port))


def test_an_absolute_target_is_judged_by_its_own_authority(proxy: Proxy, upstream: Upstream) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        connection.sendall(b"GET http://evil.example/cache/stats HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000"])
def test_a_foreign_page_is_refused_on_everything_but_the_health_check(
    proxy: Proxy, upstream: Upstream, origin: str
) -> None:
    for method, path in (
        ("GET", "/cache/stats"),
        ("POST", "/cache/clear"),
        ("GET", "/v1/models"),
        ("OPTIONS", "/v1/x"),
    ):
        answer = proxy.ask(method, path, headers={"Origin": origin})
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
    upgrade = {"Origin": origin, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert proxy.ask("GET", "/v1/realtime", headers=upgrade | {"Sec-WebSocket-Key": "eA=="}).status == 403
    for method in ("GET", "HEAD"):
        assert proxy.ask(method, "/v1/models", headers={"Sec-Fetch-Site": "cross-site"}).status == 403
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert proxy.ask("OPTIONS", "/v1/chat/completions", headers=preflight).status == 403
    assert proxy.ask("GET", "/healthz", headers={"Origin": origin}).status == 200
    assert upstream.asked == []


def test_a_listed_page_may_use_the_cache(tmp_path: Path, upstream: Upstream) -> None:
    origin = "http://localhost:3000"
    with running_proxy(tmp_path, upstream.url, CORS_ALLOW_ORIGIN=origin) as proxy:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-a"}
        preflight = proxy.ask("OPTIONS", "/v1/chat/completions", headers=asked)
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-headers"] == "x-a"
        for _ in range(2):
            assert proxy.chat(headers={"Origin": origin}).headers["access-control-allow-origin"] == origin
        assert proxy.chat(headers={"Origin": "http://other"}).status == 403


@pytest.mark.parametrize("body", [b"{", b"[]", b""])
def test_a_bad_request_is_refused_here_in_the_apis_form(proxy: Proxy, upstream: Upstream, body: bytes) -> None:
    answer = proxy.ask("POST", "/v1/chat/completions", body)
    error = answer.json()["error"]
    assert (answer.status, error["type"], error["param"]) == (400, "invalid_request_error", None)
    assert proxy.ask("POST", "/v1/messages", body).json()["type"] == "error"
    assert upstream.asked == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-Cache-Mode", "fast"), ("X-Cache-TTL", "soon"), ("X-Cache-Sample", "0"), ("X-Cache-Bypass", "maybe")],
)
def test_a_bad_control_is_refused_and_names_itself(proxy: Proxy, upstream: Upstream, name: str, value: str) -> None:
    answer = proxy.chat(headers={name: value})
    assert answer.status == 400
    assert name in answer.json()["error"]["message"]
    assert upstream.asked == []


def test_offline_nothing_goes_upstream(tmp_path: Path, upstream: Upstream) -> None:
    with running_proxy(tmp_path, upstream.url) as proxy:
        proxy.chat()
    with running_proxy(tmp_path, upstream.url, CACHE_MODE="offline") as proxy:
        assert proxy.chat().cache == "HIT"
        for headers in ({}, {"X-Cache-Mode": "readwrite"}, {"X-Cache-Bypass": "1"}, {"Cache-Control": "no-cache"}):
            assert proxy.chat("new", headers=headers).status == 404
        assert proxy.ask("GET", "/v1/models").status == 404
    assert len(upstream.asked) == 1
