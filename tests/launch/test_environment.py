"""The variables of a program that runs behind a private proxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from computer_use_cache.launch.environment import Trust, base_urls, proxied
from computer_use_cache.network import Proxies


@pytest.mark.parametrize(("given", "sent"), [({}, "0"), ({"CLAUDE_CODE_ATTRIBUTION_HEADER": "1"}, "1")])
def test_claude_code_leaves_its_hash_out_unless_the_user_set_it(given: dict[str, str], sent: str) -> None:
    trust = Trust(Path("authority.pem"), Path("bundle.pem"))
    assert proxied(8080, trust, given)["CLAUDE_CODE_ATTRIBUTION_HEADER"] == sent


LOOPBACK = ["localhost", "127.0.0.1", "::1"]
CHROMIUM = "connectivitycheck.gstatic.com"


@pytest.mark.parametrize(
    ("given", "begins", "goes_direct"),
    [
        ({}, LOOPBACK, True),
        ({"NO_PROXY": "shop.example"}, ["shop.example", *LOOPBACK], True),
        ({"no_proxy": "shop.example"}, ["shop.example", *LOOPBACK], True),
        ({"HTTPS_PROXY": "http://p:3128"}, LOOPBACK, False),
        ({"all_proxy": "http://p:3128", "NO_PROXY": "shop.example"}, ["shop.example", *LOOPBACK], False),
    ],
)
def test_a_browsers_own_hosts_are_reached_directly_unless_a_proxy_is_the_way_out(
    given: dict[str, str], begins: list[str], goes_direct: bool
) -> None:
    variables = proxied(8080, Trust(Path("authority.pem"), Path("bundle.pem")), given)
    hosts = variables["NO_PROXY"].split(",")
    assert variables["no_proxy"] == variables["NO_PROXY"]
    assert hosts[: len(begins)] == begins
    assert (CHROMIUM in hosts) is goes_direct


def test_no_host_that_is_cached_is_reached_directly() -> None:
    hosts = proxied(8080, Trust(Path("authority.pem"), Path("bundle.pem")), {})["NO_PROXY"]
    direct = Proxies.from_environment({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": hosts})
    assert all(direct.find("https", host, 443) for host in ("api.openai.com", "generativelanguage.googleapis.com"))


def test_base_urls_of_openais_kind_end_with_a_version_and_the_others_do_not() -> None:
    assert base_urls("http://127.0.0.1:8000") == {
        "OPENAI_BASE_URL": "http://127.0.0.1:8000/v1",
        "OPENAI_API_BASE": "http://127.0.0.1:8000/v1",
        "OPENROUTER_BASE_URL": "http://127.0.0.1:8000/v1",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8000",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:8000",
    }
