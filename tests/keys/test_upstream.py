"""One upstream has one base URL, whichever way a request takes to it."""

from __future__ import annotations

import pytest

from computer_use_cache.keys.upstream import resolve, split
from computer_use_cache.setting_values import BaseUrl

OPENROUTER = BaseUrl.parse("https://openrouter.ai/api/v1")
OPENAI = BaseUrl.parse("https://api.openai.com/v1")
BARE = BaseUrl.parse("http://127.0.0.1:9999")
ROUTES = ("/chat/completions", "/completions", "/embeddings", "/responses", "/messages", "/models")


@pytest.mark.parametrize("base", [OPENROUTER, OPENAI], ids=str)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("prefix", ["", "/v1", "/api", "/api/v1"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_alias_of_a_route_lies_below_the_base_path(base: BaseUrl, route: str, prefix: str, slash: str) -> None:
    assert resolve(base, prefix + route + slash) == base.path + route


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("prefix", ["", "/v1", "/api", "/api/v1", "/openai/v1"])
def test_below_an_origin_alone_every_path_stays_and_is_split_as_if_it_were_intercepted(prefix: str, route: str) -> None:
    assert resolve(BARE, prefix + route) == prefix + route
    assert split(BARE.origin, prefix + route, BARE) == split(BARE.origin, prefix + route, OPENROUTER)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v1/files/f/content", "/api/v1/files/f/content"),
        ("/api/v1/audio/speech", "/api/v1/audio/speech"),
        ("/v1/models/m", "/api/v1/models/m"),
        ("/v1", "/api/v1"),
        ("/v1/", "/api/v1/"),
        ("/v1/chat/completions//", "/api/v1/chat/completions//"),
        ("/v10/files", "/v10/files"),
        ("/files", "/files"),
        ("/api/files", "/api/files"),
        ("/", "/"),
        ("/v1beta/models/m:generateContent", "/v1beta/models/m:generateContent"),
        ("/openai/deployments/d/chat/completions", "/openai/deployments/d/chat/completions"),
    ],
)
def test_other_paths_stand_for_the_base_path_or_keep_their_own(path: str, target: str) -> None:
    assert resolve(OPENROUTER, path) == target


@pytest.mark.parametrize(
    ("origin", "path", "base", "below"),
    [
        ("https://openrouter.ai", "/api/v1/chat/completions", "https://openrouter.ai/api/v1", "/chat/completions"),
        ("https://openrouter.ai", "/api/v1", "https://openrouter.ai", "/api/v1"),
        ("https://openrouter.ai", "/api/v10/messages", "https://openrouter.ai/api/v10", "/messages"),
        ("https://openrouter.ai", "/v1beta/models/m:x", "https://openrouter.ai/v1beta", "/models/m:x"),
        ("https://api.openai.com", "/v1/responses", "https://api.openai.com/v1", "/responses"),
        ("https://h", "/a/v1/b/v2/messages", "https://h/a/v1/b/v2", "/messages"),
        ("https://h", "/v1alpha1/models/m:x", "https://h/v1alpha1", "/models/m:x"),
        ("https://h", "/openai/deployments/d/chat/completions", "https://h/openai/deployments/d", "/chat/completions"),
        ("https://h", "/chat/completions", "https://h", "/chat/completions"),
        ("https://h", "/version/chat/completions", "https://h/version", "/chat/completions"),
        ("https://h", "/v1/acct/gateway/groq/chat/completions", "https://h/v1/acct/gateway/groq", "/chat/completions"),
        ("https://h", "/v1beta/openai/chat/completions", "https://h/v1beta/openai", "/chat/completions"),
        ("https://h", "/v1beta/openai/embeddings", "https://h/v1beta/openai", "/embeddings"),
        ("https://h", "/v1/p/endpoints/openapi/embeddings", "https://h/v1/p/endpoints/openapi", "/embeddings"),
        ("https://h", "/beta/completions", "https://h/beta", "/completions"),
        ("https://h", "/openai/responses", "https://h/openai", "/responses"),
        ("https://h", "/anthropic/messages", "https://h/anthropic", "/messages"),
        ("https://h", "/serving-endpoints/embeddings", "https://h/serving-endpoints", "/embeddings"),
        ("https://h", "/inference/embeddings", "https://h/inference", "/embeddings"),
        ("https://h", "/models/embeddings", "https://h/models", "/embeddings"),
        ("https://h", "/openai/v1/responses", "https://h/openai/v1", "/responses"),
        ("https://h", "/v1/projects/beta/models/m:x", "https://h/v1", "/projects/beta/models/m:x"),
        ("https://h", "/v1/threads/t/messages", "https://h/v1", "/threads/t/messages"),
        ("https://h", "/v1/fim/completions", "https://h/v1", "/fim/completions"),
        ("https://h", "/", "https://h", "/"),
    ],
)
def test_a_path_is_split_after_the_base_of_its_api(origin: str, path: str, base: str, below: str) -> None:
    assert split(origin, path, OPENROUTER) == (base, below)


@pytest.mark.parametrize("base", [OPENROUTER, OPENAI], ids=str)
@pytest.mark.parametrize("route", ROUTES)
def test_the_configured_upstream_is_split_at_its_own_base(base: BaseUrl, route: str) -> None:
    assert split(base.origin, resolve(base, "/v1" + route), base) == (str(base), route)


def test_an_azure_deployment_is_the_base_even_below_the_configured_one() -> None:
    azure = BaseUrl.parse("https://h/openai")
    below = "/openai/deployments/d/chat/completions"
    assert split("https://h", resolve(azure, below), azure) == ("https://h/openai/deployments/d", "/chat/completions")


def test_an_api_of_openais_kind_below_a_kept_path_is_split_at_the_configured_base() -> None:
    google = BaseUrl.parse("https://generativelanguage.googleapis.com/v1beta/openai")
    target = resolve(google, "/v1/chat/completions")
    assert target == "/v1beta/openai/chat/completions"
    assert split(google.origin, target, google) == (str(google), "/chat/completions")


@pytest.mark.parametrize("base", [OPENROUTER, OPENAI], ids=str)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1beta/models/m:generateContent"])
def test_an_entry_recorded_through_the_proxy_is_found_when_intercepted(base: BaseUrl, path: str) -> None:
    elsewhere = BaseUrl.parse("https://api.elsewhere.example/v1")
    target = resolve(base, path)
    assert split(base.origin, target, base) == split(base.origin, target, elsewhere)
