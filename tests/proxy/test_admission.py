"""Which intercepted flows are the cache's business, and which may be asked again from mitmproxy's own interface."""

from __future__ import annotations

from unittest.mock import create_autospec

import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from computer_use_cache.errors import RequestError
from computer_use_cache.proxy.admission import Gate
from computer_use_cache.proxy.helper_routes import HelperRoutes
from computer_use_cache.settings import Settings

HELPERS = create_autospec(HelperRoutes, instance=True)
GATE = Gate(Settings.load({"CACHE_HOSTS": "api.openai.com,*.known.example"}), loopback=True)


@pytest.mark.parametrize(
    ("connected", "name_of_tls", "header", "is_concerned"),
    [
        ("api.openai.com", None, "api.openai.com", True),
        ("API.openai.com", None, "api.OPENAI.com:443", True),
        ("a.known.example", "a.known.example", "a.known.example", True),
        ("192.0.2.1", "api.openai.com", "api.openai.com", True),
        ("192.0.2.1", None, "api.openai.com", False),
        ("evil.example", None, "api.openai.com", False),
        ("api.openai.com", "evil.example", "api.openai.com", False),
        ("evil.example", None, "evil.example", False),
    ],
)
def test_an_intercepted_flow_is_known_by_where_it_really_goes(
    connected: str, name_of_tls: str | None, header: str, is_concerned: bool
) -> None:
    flow = tflow.tflow()
    flow.request.host = connected
    flow.request.headers["host"] = header
    flow.client_conn.sni = name_of_tls
    assert GATE.concerns(flow) is is_concerned


EXTENSION = "chrome-extension://ncekpnpfdogliplb"


@pytest.mark.parametrize(
    ("headers", "is_concerned"),
    [
        ({}, True),
        ({"origin": "https://shop.example", "sec-fetch-site": "cross-site"}, False),
        ({"origin": EXTENSION, "sec-fetch-site": "none"}, True),
        ({"origin": EXTENSION, "sec-fetch-site": "cross-site"}, False),
        ({"origin": EXTENSION}, False),
        ({"origin": "https://chrome-extension.example", "sec-fetch-site": "none"}, False),
    ],
)
def test_the_calls_of_web_pages_pass_by_and_those_of_extensions_do_not(
    headers: dict[str, str], is_concerned: bool
) -> None:
    flow = tflow.tflow()
    flow.request.host = "api.openai.com"
    flow.client_conn.sni = None
    flow.request.headers.update({"host": "api.openai.com", **headers})
    assert GATE.concerns(flow) is is_concerned


@pytest.mark.parametrize(
    ("url", "header", "is_admitted"),
    [
        pytest.param("https://api.example/base/v1/x", "api.example", True, id="one that was sent upstream"),
        pytest.param("https://api.example/v1/x", "localhost:8000", True, id="one that was answered here"),
        pytest.param("https://api.example/v1/x", "evil.example", False, id="one that was refused"),
        pytest.param("https://evil.example/base/v1/x", "api.example", False, id="one that goes elsewhere"),
        pytest.param("https://evil.example/base/v1/x", "localhost", False, id="one that goes elsewhere, from here"),
        pytest.param("http://api.example/base/v1/x", "api.example", False, id="one that goes without TLS"),
        pytest.param("https://api.example:4430/base/v1/x", "api.example", False, id="one that goes to another port"),
    ],
)
def test_a_flow_is_asked_again_of_the_configured_upstream_only(url: str, header: str, is_admitted: bool) -> None:
    gate = Gate(Settings.load({"UPSTREAM_BASE_URL": "https://api.example/base/v1"}), loopback=True)
    flow = tflow.tflow()
    flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://api.example")
    flow.request = http.Request.make("POST", url, b"{}")
    flow.request.headers["host"] = header
    flow.is_replay = "request"
    if is_admitted:
        gate.admit(flow, HELPERS)
        assert flow.request.path == "/base/v1/x"
    else:
        with pytest.raises(RequestError):
            gate.admit(flow, HELPERS)
