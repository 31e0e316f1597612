"""The main job, against a real process: a miss goes upstream, every exact repeat comes from disk."""

from __future__ import annotations

import base64
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from support import FAKE_KEY, Proxy, Upstream, always, chat_request, completion, response, running_proxy


def test_the_second_identical_call_is_a_hit_with_the_same_bytes(proxy: Proxy, upstream: Upstream) -> None:
    first, second = proxy.chat(), proxy.chat()
    assert (first.cache, second.cache) == ("MISS", "HIT")
    assert first.body == second.body
    assert len(upstream.asked) == 1


def test_headers_tell_what_the_cache_did(proxy: Proxy) -> None:
    miss, hit = proxy.chat(), proxy.chat()
    key = miss.headers["x-computer-use-cache-key"]
    assert len(key) == 64
    assert miss.headers["x-computer-use-cache-store"] == miss.headers["x-code-model-cache-store"] == "stored"
    assert miss.headers["cache-status"] == f'computer-use-cache; fwd=uri-miss; fwd-status=200; stored; key="{key}"'
    assert hit.headers["cache-status"].startswith("computer-use-cache; hit; ttl=2591")
    assert hit.headers["x-code-model-cache"] == "HIT"
    assert hit.headers["x-code-model-cache-key"] == key
    assert hit.headers["age"] == hit.headers["x-computer-use-cache-age"]
    assert hit.headers["x-request-id"] == "req_1"


def test_a_hit_replays_only_headers_that_clients_read(proxy: Proxy, upstream: Upstream) -> None:
    private = {"set_cookie": "a=b", "x_ratelimit_remaining_requests": "9", "openai_organization": "org", "date": "now"}
    body = json.dumps(completion("pong")).encode()
    upstream.handler = always(response(body, openai_version="2020-10-01", **private))
    proxy.chat()
    hit = proxy.chat()
    assert hit.headers["openai-version"] == "2020-10-01"
    assert not {"set-cookie", "x-ratelimit-remaining-requests", "openai-organization", "date"} & hit.headers.keys()


def test_hits_are_served_while_the_upstream_is_down(proxy: Proxy, upstream: Upstream) -> None:
    proxy.chat()
    upstream.stop()
    assert proxy.chat().cache == "HIT"


def test_entries_and_statistics_survive_a_restart(tmp_path: Path, upstream: Upstream) -> None:
    with running_proxy(tmp_path, upstream.url) as proxy:
        proxy.chat()
        proxy.chat()
        assert proxy.stop() == 0
    with running_proxy(tmp_path, upstream.url) as proxy:
        assert proxy.chat().cache == "HIT"
        stats = proxy.stats()
    assert (stats["hits"], stats["misses"], stats["entries"], stats["stored"]) == (2, 1, 1, 1)
    assert stats["hit_rate"] == pytest.approx(2 / 3)
    model = stats["models"]["gpt-test"]
    assert (model["hits"], model["misses"], model["priced"]) == (2, 1, False)
    tokens = [(model[book]["input_tokens"], model[book]["output_tokens"]) for book in ("saved", "spent")]
    assert tokens == [(10, 4), (5, 2)]


@pytest.mark.parametrize("path", ["/v1", "", "/api/v1", "/api"])
@pytest.mark.parametrize(("endpoint", "field"), [("/chat/completions", "messages"), ("/completions", "prompt")])
def test_every_alias_is_the_same_request(
    proxy: Proxy, upstream: Upstream, path: str, endpoint: str, field: str
) -> None:
    body = {"model": "m", field: [{"role": "user", "content": "x"}] if field == "messages" else "x"}
    if field == "prompt":
        text = {"choices": [{"index": 0, "text": "pong", "finish_reason": "stop"}], "model": "m"}
        upstream.handler = always(response(json.dumps(text).encode()))
    assert proxy.post("/v1" + endpoint, body).cache == "MISS"
    assert proxy.post(path + endpoint, body).cache == "HIT"
    assert upstream.asked[0].path == "/v1" + endpoint


def test_models_and_unknown_routes_pass_through_uncached(proxy: Proxy, upstream: Upstream) -> None:
    upstream.handler = always(response(b'{"data": []}'))
    for path, forwarded in (("/models", "/v1/models"), ("/v1/files?limit=2", "/v1/files?limit=2"), ("/x/y", "/x/y")):
        for _ in range(2):
            answer = proxy.ask("GET", path)
            assert (answer.status, answer.cache) == (200, "BYPASS")
            assert answer.headers["x-computer-use-cache-reason"] == "not a cached route"
        assert upstream.asked[-1].path == forwarded
    assert len(upstream.asked) == 6


@pytest.mark.parametrize(
    ("method", "path", "fwd", "reason"),
    [
        ("GET", "/v1/models", "bypass", "not a cached route"),
        ("POST", "/v1/files", "bypass", "not a cached route"),
        ("GET", "/v1/chat/completions", "method", "method is not cached"),
        ("DELETE", "/v1/files/1", "method", "method is not cached"),
    ],
)
def test_what_passes_by_says_whether_its_route_or_its_method_is_why(
    proxy: Proxy, upstream: Upstream, method: str, path: str, fwd: str, reason: str
) -> None:
    upstream.handler = always(response(b"{}"))
    answer = proxy.ask(method, path, b"{}" if method == "POST" else None)
    assert answer.headers["cache-status"] == f"computer-use-cache; fwd={fwd}; fwd-status=200"
    assert (answer.cache, answer.headers["x-computer-use-cache-reason"]) == ("BYPASS", reason)
    assert proxy.stats()["bypasses"] == {reason: 1}


def test_a_large_upload_passes_through_whole(proxy: Proxy, upstream: Upstream) -> None:
    upstream.handler = always(response(b"{}"))
    upload = random.Random(1).randbytes(3_000_000)
    assert proxy.ask("POST", "/v1/files", upload, {"content-type": "application/octet-stream"}).cache == "BYPASS"
    assert upstream.asked[0].body == upload


def test_a_request_with_a_screenshot_of_a_megabyte_is_cached(proxy: Proxy) -> None:
    image = base64.b64encode(random.Random(1).randbytes(900_000)).decode()
    content = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}]
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    assert [proxy.post("/v1/chat/completions", body).cache for _ in range(2)] == ["MISS", "HIT"]


def test_controls_are_not_forwarded_and_everything_else_is(proxy: Proxy, upstream: Upstream) -> None:
    fields = {"cache": True, "cache_control": {"enabled": True}, "metadata": {"cache": True, "team": "a"}, "user": "u"}
    headers = {"X-Cache-Namespace": "n", "X-Cache-TTL": "60", "X-Cache-Sample": "2", "X-Custom": "kept"}
    assert proxy.chat(headers=headers, **fields).cache == "MISS"
    asked = upstream.asked[0]
    assert asked.json() == chat_request(metadata={"team": "a"}, user="u")
    assert not any(name.startswith("x-cache") for name in asked.headers)
    assert asked.headers["x-custom"] == "kept"
    assert asked.headers["authorization"] == f"Bearer {FAKE_KEY}"
    assert asked.headers["host"] == f"127.0.0.1:{upstream.port}"


def test_prompt_cache_control_reaches_the_provider(proxy: Proxy, upstream: Upstream) -> None:
    proxy.chat(cache_control={"type": "ephemeral"})
    assert upstream.asked[0].json()["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("fields", "headers", "reason"),
    [
        ({"cache": False}, {}, "cache disabled for request"),
        ({"cache_control": {"enabled": False}}, {}, "cache disabled for request"),
        ({"metadata": {"cache_enabled": "no"}}, {}, "cache disabled for request"),
        ({}, {"X-Cache-Bypass": "true"}, "X-Cache-Bypass"),
        ({}, {"X-Cache-Mode": "off"}, "cache mode is off"),
    ],
)
def test_a_bypassed_request_is_neither_looked_up_nor_stored(
    proxy: Proxy, upstream: Upstream, fields: dict[str, object], headers: dict[str, str], reason: str
) -> None:
    for _ in range(2):
        answer = proxy.chat(headers=headers, **fields)
        assert (answer.cache, answer.headers["x-computer-use-cache-reason"]) == ("BYPASS", reason)
    assert len(upstream.asked) == 2
    stats = proxy.stats()
    assert (stats["entries"], stats["bypasses"]) == (0, {reason: 2})


def test_a_prompt_with_a_credential_is_a_hit_whichever_credential_it_holds(proxy: Proxy, upstream: Upstream) -> None:
    secrets = ["ghp_" + four * 9 for four in ("a1B2", "c3D4")]
    answers = [proxy.chat(f"my token is {secret}") for secret in secrets]
    assert [answer.cache for answer in answers] == ["MISS", "HIT"]
    assert len(upstream.asked) == 1


def test_the_operators_key_replaces_the_clients(tmp_path: Path, upstream: Upstream) -> None:
    own = "-".join(("sk", "operator"))
    with running_proxy(tmp_path, upstream.url, UPSTREAM_API_KEY=own) as proxy:
        proxy.chat()
        proxy.ask("GET", "/v1/models")
    assert [asked.headers["authorization"] for asked in upstream.asked] == [f"Bearer {own}"] * 2


def test_thirty_two_concurrent_repeats_make_no_upstream_call(proxy: Proxy, upstream: Upstream) -> None:
    proxy.chat()
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: proxy.chat(), range(96)))
    assert {answer.cache for answer in answers} == {"HIT"}
    assert len(upstream.asked) == 1


def test_a_ttl_of_one_request_ends_its_entry(proxy: Proxy, upstream: Upstream) -> None:
    proxy.chat(headers={"X-Cache-TTL": "3600"})
    assert int(proxy.chat().headers["cache-status"].split("ttl=")[1].split(";")[0]) <= 3600
    assert len(upstream.asked) == 1


@pytest.mark.parametrize("directive", ["no-cache", "max-age=0"])
def test_a_client_can_ask_for_a_new_answer(proxy: Proxy, upstream: Upstream, directive: str) -> None:
    proxy.chat()
    assert proxy.chat(headers={"Cache-Control": directive}).headers["x-computer-use-cache-store"] == "updated"
    assert proxy.chat(headers={"Cache-Control": "max-age=60"}).cache == "HIT"
    assert len(upstream.asked) == 2


def test_metadata_is_added_to_json_answers_when_wanted(tmp_path: Path, upstream: Upstream) -> None:
    with running_proxy(tmp_path, upstream.url, INCLUDE_CACHE_METADATA="1") as proxy:
        miss, hit = proxy.chat().json(), proxy.chat().json()
    assert miss["computer_use_cache"]["store_status"] == "stored"
    assert hit["computer_use_cache"] == hit["code_model_cache"]
    assert hit["computer_use_cache"]["cache_hit"] is True
    assert upstream.asked[0].json() == chat_request()


def test_the_openai_package_misses_hits_and_sees_errors(proxy: Proxy, upstream: Upstream) -> None:
    client = openai.OpenAI(base_url=proxy.url, api_key=FAKE_KEY, max_retries=0)
    with client:
        answers = [client.chat.completions.with_raw_response.create(**chat_request()) for _ in range(2)]
        assert [answer.headers["x-computer-use-cache"] for answer in answers] == ["MISS", "HIT"]
        assert answers[0].parse() == answers[1].parse()
        upstream.stop()
        with pytest.raises(openai.InternalServerError) as failure:
            client.chat.completions.create(**chat_request("another"))
    assert failure.value.status_code == 502
    assert failure.value.code == "upstream_request_failed"


def test_without_upstream_base_url_the_mode_decides(tmp_path: Path, upstream: Upstream) -> None:
    with running_proxy(tmp_path, upstream.url, UPSTREAM_BASE_URL="") as proxy:
        assert proxy.chat().status == 200
        assert proxy.ask("GET", "/").json()["upstream_base_url"] == upstream.url
