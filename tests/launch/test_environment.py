"""What the environment of a program says of the proxy that it was to use already."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from computer_use_cache.errors import CacheError
from computer_use_cache.launch.environment import Outward, Trust, outward, proxied


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


@pytest.mark.parametrize(
    ("given", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": "http://p:3128"}, Outward("http", "p", 3128, "")),
        ({"HTTPS_PROXY": "p:3128"}, Outward("http", "p", 3128, "")),
        ({"HTTPS_PROXY": "http://p/"}, Outward("http", "p", 80, "")),
        ({"HTTPS_PROXY": "https://p"}, Outward("https", "p", 443, "")),
        ({"HTTPS_PROXY": "http://[::1]:3128"}, Outward("http", "::1", 3128, "")),
        ({"HTTPS_PROXY": "http://a%40b:c%3Ad@p:1"}, Outward("http", "p", 1, basic("a@b:c:d"))),
        ({"HTTPS_PROXY": "http://a@p:1"}, Outward("http", "p", 1, basic("a:"))),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, Outward("http", "low", 1, "")),
        ({"ALL_PROXY": "socks5://s:1", "HTTPS_PROXY": "http://p:1"}, Outward("http", "p", 1, "")),
        ({"all_proxy": "http://p:1"}, Outward("http", "p", 1, "")),
    ],
)
def test_the_proxy_for_https_is_found_with_its_credentials(given: dict[str, str], proxy: Outward | None) -> None:
    assert outward(given) == proxy


def test_its_url_holds_no_credentials() -> None:
    assert Outward("http", "::1", 3128, basic("a:b")).url == "http://[::1]:3128"


@pytest.mark.parametrize("url", ["socks5://p:1", "ftp://p", "http://p:port", "http://a:b@", "http://[::1"])
def test_any_other_is_refused_by_its_variables_name(url: str) -> None:
    with pytest.raises(CacheError, match=r"^HTTPS_PROXY names no http:// or https:// proxy"):
        outward({"HTTPS_PROXY": url})


@pytest.mark.parametrize(("given", "sent"), [({}, "0"), ({"CLAUDE_CODE_ATTRIBUTION_HEADER": "1"}, "1")])
def test_claude_code_leaves_its_hash_out_unless_it_was_told_otherwise(given: dict[str, str], sent: str) -> None:
    trust = Trust(Path("authority.pem"), Path("bundle.pem"))
    assert proxied(8080, trust, given)["CLAUDE_CODE_ATTRIBUTION_HEADER"] == sent
