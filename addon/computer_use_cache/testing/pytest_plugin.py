"""The pytest plugin: a test that asks for `llm_cache` has its model calls played from a cassette, or recorded on one.

pytest loads this module in every run, also where nothing of it is used: what takes long to import is imported late.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from computer_use_cache.errors import CacheError
from computer_use_cache.setting_values import Mode

if TYPE_CHECKING:
    from computer_use_cache.testing.cassette import Player

_MODES = ("offline", "record", "off")
_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY")
"""SDKs refuse to start without one."""


@dataclass
class LlmCache:
    """What the fixture `llm_cache` gives: the `mode`, the `cassette`'s file, and the proxy's `url`.

    `url` has no path, and is "" in the mode `off`.
    """

    mode: str
    cassette: Path
    url: str = ""
    player: Player | None = None
    passed: bool = False


_CACHE = pytest.StashKey[LlmCache]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("llm-cache", "model calls from cassettes (computer-use-cache)")
    group.addoption(
        "--llm-cache",
        choices=_MODES,
        help="offline plays cassettes and lets nothing through; record asks upstream what they lack; off does nothing",
    )
    parser.addini("llm_cache", "the mode where --llm-cache is not given", default="offline")
    parser.addini("llm_cache_upstream", "the model API to record from, such as https://api.openai.com/v1", default="")
    parser.addini("llm_cache_settings", "settings of the cache, such as CACHE_NORMALIZE=uuids", type="linelist")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "llm_cache(upstream, cassette): the model API to record from, and the cassette beside the test module",
    )


@pytest.fixture(scope="session")
def _llm_cache_players(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, str], Player]]:
    """The player for a mode and an upstream ("": the default).

    One process plays all cassettes of an upstream in turn. Each test that records has one of its own, so that a late
    answer cannot get onto the cassette of another test.
    """
    from computer_use_cache.testing.cassette import Player  # noqa: PLC0415

    settings = dict(line.split("=", 1) for line in request.config.getini("llm_cache_settings"))
    playing: dict[str, Player] = {}

    def player(mode: str, upstream: str) -> Player:
        if mode == "offline" and upstream in playing:
            return playing[upstream]
        variables = settings | ({"UPSTREAM_BASE_URL": upstream} if upstream else {})
        made = Player(
            tmp_path_factory.mktemp("llm-cache"), Mode.OFFLINE if mode == "offline" else Mode.READWRITE, variables
        )
        if mode == "offline":
            playing[upstream] = made
        return made

    yield player
    for each in playing.values():
        each.stop()


@pytest.fixture
def llm_cache(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    _llm_cache_players: Callable[[str, str], Player],
) -> Iterator[LlmCache]:
    """A cache that the SDKs' base URL variables point at, with the cassette of this test in it."""
    from computer_use_cache.testing.cassette import upstream_of  # noqa: PLC0415

    marker = request.node.get_closest_marker("llm_cache")
    wishes = marker.kwargs if marker else {}
    cassette = _cassette(request.node, wishes.get("cassette"))
    mode = _mode(request.config)
    cache = request.node.stash[_CACHE] = LlmCache(mode, cassette)
    if mode == "off":
        yield cache
        return
    upstream = wishes.get("upstream") or request.config.getini("llm_cache_upstream") or _upstream_set()
    if mode == "offline":
        upstream = upstream_of(cassette) or upstream
    with _playing(cache, _llm_cache_players, upstream) as player:
        cache.url = player.url
        _point_clients(monkeypatch, cache.url)
        yield cache


@contextlib.contextmanager
def _playing(cache: LlmCache, players: Callable[[str, str], Player], upstream: str) -> Iterator[Player]:
    player = cache.player = players(cache.mode, upstream)
    try:
        player.load(cache.cassette)
        player.start()
        player.misses()  # of a test before, that ended while it asked
        yield player
    except CacheError as error:
        pytest.fail(f"llm_cache: {error}", pytrace=False)
    finally:
        if cache.mode == "record":
            player.stop()
    if cache.mode == "record" and cache.passed:
        player.save(cache.cassette)


def _mode(config: pytest.Config) -> str:
    mode: str = config.getoption("--llm-cache") or config.getini("llm_cache")
    if mode not in _MODES:
        raise pytest.UsageError(f"llm_cache: {mode!r} is not one of {', '.join(_MODES)}")
    return mode


def _upstream_set() -> str:
    return os.environ.get("UPSTREAM_BASE_URL") or os.environ.get("OPENAI_BASE_URL") or ""


def _cassette(item: pytest.Item, wish: str | None) -> Path:
    """`cassettes/<module>/<test>.jsonl` beside the test's module, or the file that the marker names."""
    if wish:
        return item.path.parent / wish
    name = item.nodeid.partition("::")[2].replace("::", ".")
    plain = re.sub(r"[^\w.\[\]=+-]+", "-", name)[:150]
    if plain != name:  # two names may have become one
        plain += "-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return item.path.parent / "cassettes" / item.path.stem / f"{plain}.jsonl"


def _point_clients(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    from computer_use_cache.launch.environment import base_urls  # noqa: PLC0415

    for name, value in base_urls(url).items():
        monkeypatch.setenv(name, value)
    for name in _KEYS:
        if not os.environ.get(name):
            monkeypatch.setenv(name, "unused")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, ",".join(filter(None, [os.environ.get(name), "127.0.0.1"])))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A request that the cassette does not answer fails the test, also where the code under test went on."""
    cache = item.stash.get(_CACHE, None)
    try:
        result = yield
    except BaseException:
        if cache and (told := _told(cache)):
            item.add_report_section("call", "llm_cache", told)
        raise
    if cache:
        if told := _told(cache):
            pytest.fail(told, pytrace=False)
        cache.passed = True
    return result


def _told(cache: LlmCache) -> str:
    """What is to be said of the requests that went unanswered; "" when there are none."""
    misses = cache.player.misses() if cache.player else []
    if not misses:
        return ""
    lack = "" if cache.cassette.exists() else " (there is no such file)"
    where = f"The cassette {cache.cassette}{lack} does not answer what the test asked:"
    return "\n".join([where, *misses, "Record what it lacks with: pytest --llm-cache=record"])
