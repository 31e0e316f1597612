"""The pytest plugin: model calls of a test that uses `llm_cache` are played from a cassette, or recorded to one.

pytest loads this module in every run, used or not, so everything that is slow to import is imported late.
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
"""SDKs refuse to start without a key."""


@dataclass
class LlmCache:
    """The value of the fixture `llm_cache`: the mode, the cassette's file, and the proxy's URL.

    `url` has no path; it is "" in the mode `off`.
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
        help="offline plays cassettes and makes no calls; record asks upstream for what they lack; off does nothing",
    )
    parser.addini("llm_cache", "the mode if --llm-cache is not given", default="offline")
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
    """Returns the player for a mode and an upstream ("": the default).

    One process plays all cassettes of an upstream in turn. While recording, each test has its own process, so that a
    late answer cannot end up on another test's cassette.
    """
    from computer_use_cache.testing.cassette import Player  # noqa: PLC0415

    settings = _settings(request.config)
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
    """A cache filled from this test's cassette. The SDKs' base URL variables point at it."""
    from computer_use_cache.testing.cassette import upstream_of  # noqa: PLC0415

    chosen, cassette_name = _chosen(request.node.get_closest_marker("llm_cache"))
    cassette = _cassette(request.node, cassette_name)
    mode = _mode(request.config)
    cache = request.node.stash[_CACHE] = LlmCache(mode, cassette)
    if mode == "off":
        yield cache
        return
    upstream = chosen or request.config.getini("llm_cache_upstream") or _upstream_set()
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
        player.misses()  # drop those of an earlier test that ended during a call
        yield player
    except CacheError as error:
        pytest.fail(f"llm_cache: {error}", pytrace=False)
    finally:
        if cache.mode == "record":
            player.stop()
    if cache.mode == "record" and cache.passed:
        player.save(cache.cassette)


def _settings(config: pytest.Config) -> dict[str, str]:
    """The settings in `llm_cache_settings`, by variable."""
    pairs = [line.partition("=") for line in config.getini("llm_cache_settings")]
    if wrong := next((name for name, equals, _ in pairs if not equals), None):
        raise pytest.UsageError(f"llm_cache_settings: {wrong!r} is not a setting; write it as NAME=VALUE")
    return {name.strip(): text.strip() for name, _, text in pairs}


def _chosen(marker: pytest.Mark | None) -> tuple[str | None, str | None]:
    """The upstream and the cassette that a test's marker names, by position or by keyword."""

    def llm_cache(upstream: str | None = None, cassette: str | None = None) -> tuple[str | None, str | None]:
        return upstream, cassette

    try:
        return llm_cache(*marker.args, **marker.kwargs) if marker else (None, None)
    except TypeError as error:
        raise pytest.UsageError(f"@pytest.mark.llm_cache: {str(error).rpartition('<locals>.')[2]}") from None


def _mode(config: pytest.Config) -> str:
    mode: str = config.getoption("--llm-cache") or config.getini("llm_cache")
    if mode not in _MODES:
        raise pytest.UsageError(f"llm_cache: {mode!r} is not one of {', '.join(_MODES)}")
    return mode


def _upstream_set() -> str:
    return os.environ.get("UPSTREAM_BASE_URL") or os.environ.get("OPENAI_BASE_URL") or ""


def _cassette(item: pytest.Item, named: str | None) -> Path:
    """`cassettes/<module>/<test>.jsonl` beside the test's module, or the file named by the marker."""
    if named:
        return item.path.parent / named
    name = item.nodeid.partition("::")[2].replace("::", ".")
    plain = re.sub(r"[^\w.\[\]=+-]+", "-", name)[:150]
    if plain != name:  # different names may have become equal
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
    """Fail a test whose cassette did not answer a request, even if the code under test swallowed the error."""
    cache = item.stash.get(_CACHE, None)
    try:
        result = yield
    except BaseException:
        if cache and (report := _report(cache)):
            item.add_report_section("call", "llm_cache", report)
        raise
    if cache:
        if report := _report(cache):
            pytest.fail(report, pytrace=False)
        cache.passed = True
    return result


def _report(cache: LlmCache) -> str:
    """Describes the requests that the cassette did not answer; "" if it answered all."""
    misses = cache.player.misses() if cache.player else []
    if not misses:
        return ""
    missing = "" if cache.cassette.exists() else " (no such file)"
    where = f"The cassette {cache.cassette}{missing} does not answer these requests:"
    return "\n".join([where, *misses, "Record what it lacks with: pytest --llm-cache=record"])
