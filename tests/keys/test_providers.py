"""The tables of providers against the URLs that the providers document, each with its source."""

from __future__ import annotations

import csv
import fnmatch
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from computer_use_cache import formats
from computer_use_cache.errors import SettingError
from computer_use_cache.keys import providers, upstream
from computer_use_cache.keys.providers import Hosts
from computer_use_cache.setting_values import BaseUrl
from computer_use_cache.settings import Settings

with (Path(__file__).parent / "provider_urls.csv").open(encoding="utf-8", newline="") as file:
    URLS = [(row["url"], row["format"]) for row in csv.DictReader(file)]
KNOWN = Hosts.parse("")
ELSEWHERE = BaseUrl.parse("https://api.elsewhere.example/v1")


@pytest.mark.parametrize(("url", "name"), URLS)
def test_a_documented_url_is_recognised_at_its_host(url: str, name: str) -> None:
    parts = urlsplit(url)
    assert parts.netloc in KNOWN
    found = formats.match(upstream.split(f"https://{parts.netloc}", parts.path, ELSEWHERE)[1])
    assert not name or (found and found[0].name == name)


@pytest.mark.parametrize(("url", "name"), URLS)
def test_the_origin_alone_as_upstream_finds_the_providers_own_path(url: str, name: str) -> None:
    parts = urlsplit(url)
    base = Settings.load({"UPSTREAM_BASE_URL": f"https://{parts.netloc}"}).upstream_base_url
    assert upstream.resolve(base, parts.path) == parts.path
    found = formats.match(upstream.split(base.origin, parts.path, base)[1])
    assert not name or (found and found[0].name == name)


def test_every_pattern_stands_for_a_documented_url() -> None:
    hosts = [urlsplit(url).netloc for url, _ in URLS]
    unused = [pattern for pattern in providers.KNOWN_HOSTS if not fnmatch.filter(hosts, pattern)]
    assert unused == []
    assert len(set(providers.KNOWN_HOSTS)) == len(providers.KNOWN_HOSTS)


@pytest.mark.parametrize(
    ("origin", "asked", "target"),
    [
        ("https://api.groq.com", "/v1/chat/completions", "/openai/v1/chat/completions"),
        ("https://api.anthropic.com", "/messages", "/v1/messages"),
        ("https://openrouter.ai", "/v1/models", "/api/v1/models"),
        ("https://dbc-1.cloud.databricks.com", "/v1/responses", "/serving-endpoints/responses"),
        ("http://127.0.0.1:11434", "/v1/chat/completions", "/v1/chat/completions"),
        ("http://127.0.0.1:11434", "/api/chat", "/api/chat"),
    ],
)
def test_an_alias_leads_below_the_base_path_that_is_known_for_the_origin(origin: str, asked: str, target: str) -> None:
    assert upstream.resolve(Settings.load({"UPSTREAM_BASE_URL": origin}).upstream_base_url, asked) == target


@pytest.mark.parametrize(
    ("text", "host", "is_cached"),
    [
        ("", "api.openai.com", True),
        ("", "API.OpenAI.com", True),
        ("", "api.openai.com.evil.example", False),
        ("", "www.googleapis.com", False),
        ("own.example", "own.example", True),
        ("own.example", "api.openai.com", False),
        ("+own.example", "own.example", True),
        ("+own.example", "api.openai.com", True),
        ("+*.Own.example, -api.openai.com", "llm.own.example", True),
        ("+*.own.example,-api.openai.com", "api.openai.com", False),
        ("-*.azure.com", "r.openai.azure.com", False),
        ("-r.openai.azure.com", "r.openai.azure.com", False),
        ("-r.openai.azure.com", "s.openai.azure.com", True),
    ],
)
def test_signs_change_the_known_hosts_and_plain_hosts_replace_them(text: str, host: str, is_cached: bool) -> None:
    assert (host in Settings.load({"CACHE_HOSTS": text}).hosts) is is_cached


@pytest.mark.parametrize("text", ["own.example,+other.example", "+", "-,+own.example"])
def test_a_list_of_hosts_that_is_unclear_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match=r"CACHE_HOSTS.*\+host and -host"):
        Settings.load({"CACHE_HOSTS": text})
