"""Recorded traffic of model APIs, which is not part of the repository: `COMPUTER_USE_CACHE_CORPUS` names its folder,
else a folder `shared/corpus/dev` above this one is taken."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest


def exchanges(name: str) -> list[dict[str, Any]]:
    """The rows of one API; skips the test where there are none."""
    named = os.environ.get("COMPUTER_USE_CACHE_CORPUS")
    folders = [Path(named)] if named else [above / "shared/corpus/dev" for above in Path(__file__).resolve().parents]
    file = next((folder / f"{name}.jsonl" for folder in folders if (folder / f"{name}.jsonl").is_file()), None)
    if file is None:
        pytest.skip(f"no recorded traffic: set COMPUTER_USE_CACHE_CORPUS to the folder that holds {name}.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
