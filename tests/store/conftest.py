"""The stores that every contract test runs on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from computer_use_cache.settings import Settings
from computer_use_cache.store import opening
from computer_use_cache.store.base import Store
from made import LIMIT, Opener


@pytest.fixture(params=["disk", "redis", "cluster"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same entries again and again."""
    opened: list[Store] = []

    def open_again(size_limit: int = LIMIT) -> Store:
        changes = {"CACHE_STORE_URL": server.connection_url} if server else {}
        given = {"CACHE_DIR": str(tmp_path / "store"), "CACHE_SIZE_LIMIT": str(size_limit)}
        opened.append(opening.open_store(Settings.load(given | changes)))
        return opened[-1]

    fixture = {"redis": "store_server", "cluster": "store_cluster"}.get(request.param)
    server = request.getfixturevalue(fixture) if fixture else None
    yield open_again
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Opener) -> Store:
    return open_store()
