from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from computer_use_cache.exchange import study
from exchange.house import House


@pytest.fixture(autouse=True)
def no_late_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies begin when they are waited for: a timer that fires while a test's event loop is being closed would leave
    a task that never runs."""
    monkeypatch.setattr(study, "_DELAY_SECONDS", 3600.0)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "store")
    yield made
    made.shared.studies.close()
    made.store.close()
