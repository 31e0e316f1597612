"""In a running proxy, every mode and every control does what the README says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from computer_use_cache.store.disk import DiskStore
from recorded import put_chat
from support import Answer, Asked, Proxy, Send, Upstream, completion, response, running_proxy

type Steps = list[tuple[dict[str, str], str]]
"""Requests by their headers, and of each answer what the cache says and the upstream's number for it: `HIT 1` is the
upstream's first answer to this question, from the store."""


def numbering() -> Upstream:
    """An upstream that answers each question with the number of times it was asked."""
    upstream = Upstream()

    async def count(asked: Asked, send: Send) -> None:
        times = sum(other.body == asked.body for other in upstream.asked)
        await send(response(json.dumps(completion(str(times))).encode()))

    upstream.handler = count
    return upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    provider = numbering()
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("controls")


@pytest.fixture(scope="module")
def proxy(folder: Path, upstream: Upstream) -> Iterator[Proxy]:
    with running_proxy(folder, upstream.url) as running:
        yield running


def summary(answer: Answer) -> str:
    if answer.status != 200:
        return str(answer.status)
    return f"{answer.cache} {answer.json()['choices'][0]['message']['content']}"


def mode(name: str) -> dict[str, str]:
    return {"X-Cache-Mode": name}


def directive(text: str) -> dict[str, str]:
    return {"Cache-Control": text}


def sample(number: int) -> dict[str, str]:
    return {"X-Cache-Sample": str(number)}


def namespace(name: str) -> dict[str, str]:
    return {"X-Cache-Namespace": name}


STEPS: dict[str, Steps] = {
    "readwrite": [(mode("readwrite"), "MISS 1"), ({}, "HIT 1"), (mode("readwrite"), "HIT 1")],
    "readonly": [(mode("readonly"), "MISS 1"), ({}, "MISS 2"), (mode("readonly"), "HIT 2")],
    "refresh": [(mode("refresh"), "MISS 1"), (mode("refresh"), "MISS 2"), ({}, "HIT 2")],
    "offline": [(mode("offline"), "404"), ({}, "MISS 1"), (mode("offline"), "HIT 1")],
    "off": [({}, "MISS 1"), (mode("off"), "BYPASS 2"), ({}, "HIT 1")],
    "bypass": [({}, "MISS 1"), ({"X-Cache-Bypass": "true"}, "BYPASS 2"), ({}, "HIT 1")],
    "no-cache": [({}, "MISS 1"), (directive("no-cache"), "MISS 2"), ({}, "HIT 2")],
    "no-store": [(directive("no-store"), "MISS 1"), ({}, "MISS 2"), (directive("no-store"), "HIT 2")],
    "neither": [({}, "MISS 1"), (directive("no-cache, no-store"), "MISS 2"), ({}, "HIT 1")],
    "only-if-cached": [(directive("only-if-cached"), "504"), ({}, "MISS 1"), (directive("only-if-cached"), "HIT 1")],
    "max-age=0": [({}, "MISS 1"), (directive("max-age=0"), "MISS 2"), (directive("max-age=60"), "HIT 2")],
    "samples": [
        *((sample(number), f"MISS {number}") for number in (1, 2, 3, 4, 5)),
        *((sample(number), f"HIT {number}") for number in (5, 4, 3, 2, 1)),
        ({}, "HIT 1"),
    ],
    "namespaces": [
        ({}, "MISS 1"),
        (namespace("a"), "MISS 2"),
        (namespace("b"), "MISS 3"),
        *((headers, f"HIT {number}") for number, headers in enumerate(({}, namespace("a"), namespace("b")), 1)),
        (namespace("a") | sample(2), "MISS 4"),
        (namespace("a"), "HIT 2"),
    ],
    "a mode and a directive": [({}, "MISS 1"), (mode("readonly") | directive("no-cache"), "MISS 2"), ({}, "HIT 1")],
}


@pytest.mark.parametrize("name", STEPS)
def test_a_control_of_a_request_does_what_it_says(proxy: Proxy, name: str) -> None:
    answers = [proxy.chat(f"control {name}", headers=headers) for headers, _ in STEPS[name]]
    assert [summary(answer) for answer in answers] == [expected for _, expected in STEPS[name]]


MODES = {
    "readwrite": ["HIT 0", "MISS 1", "HIT 1"],
    "readonly": ["HIT 0", "MISS 1", "MISS 2"],
    "refresh": ["MISS 1", "MISS 1", "MISS 2"],
    "offline": ["HIT 0", "404", "404"],
    "off": ["BYPASS 1", "BYPASS 1", "BYPASS 2"],
}


@pytest.mark.parametrize("name", MODES)
def test_a_mode_does_what_it_says_to_what_is_known_and_what_is_new(
    tmp_path: Path, upstream: Upstream, name: str
) -> None:
    store = DiskStore(tmp_path / "store", 2**24)
    put_chat(store, upstream, f"known in {name}", json.dumps(completion("0")).encode(), age=1)
    store.close()
    with running_proxy(tmp_path, upstream.url, CACHE_MODE=name) as proxy:
        texts = [f"known in {name}", f"new in {name}", f"new in {name}"]
        assert [summary(proxy.chat(text)) for text in texts] == MODES[name]


@pytest.mark.parametrize(
    ("headers", "ttl"),
    [({}, 2_592_000), ({"X-Cache-TTL": "60"}, 60), ({"X-Cache-TTL": "0"}, None)],
    ids=["the setting's", "its own", "for ever"],
)
def test_a_ttl_is_that_of_the_request_that_stores(proxy: Proxy, headers: dict[str, str], ttl: int | None) -> None:
    text = f"ttl {ttl}"
    proxy.chat(text, headers=headers)
    status = proxy.chat(text, headers={"X-Cache-TTL": "7"}).headers["cache-status"]
    assert status.startswith("computer-use-cache; hit;")
    left = [int(part.removeprefix(" ttl=")) for part in status.split(";") if part.startswith(" ttl=")]
    assert left == [] if ttl is None else ttl - 30 < left[0] <= ttl


def test_the_age_is_the_time_since_the_recording_and_max_age_limits_it(
    proxy: Proxy, folder: Path, upstream: Upstream
) -> None:
    store = DiskStore(folder / "store", 2**24)
    put_chat(store, upstream, "old", json.dumps(completion("0")).encode(), age=1000)
    store.close()
    assert proxy.chat("new").headers.get("age") is None, "an answer of the upstream has none"
    hit = proxy.chat("old", headers=directive("max-age=1030"))
    assert (summary(hit), hit.headers["age"]) == ("HIT 0", hit.headers["x-computer-use-cache-age"])
    assert 1000 <= int(hit.headers["age"]) < 1030
    assert summary(proxy.chat("old", headers=directive("max-age=999"))) == "MISS 1"
    assert int(proxy.chat("old").headers["age"]) < 30, "the new recording took the old one's place"
