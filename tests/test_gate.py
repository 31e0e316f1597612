"""Which intercepted flows are the cache's business."""

from __future__ import annotations

import pytest
from mitmproxy.test import tflow

from computer_use_cache.proxy.gate import Gate
from computer_use_cache.settings import Settings

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
