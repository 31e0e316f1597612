"""Which lines a command prints while its proxy works."""

from __future__ import annotations

import os
from typing import IO

from computer_use_cache.run_models import LineStyle


def style(out: IO[str], *, is_wanted: bool, as_json: bool) -> LineStyle:
    """The style of the lines that go to `out`."""
    if as_json:
        return LineStyle.JSON
    if not is_wanted:
        return LineStyle.NONE
    return LineStyle.COLOUR if out.isatty() and not os.environ.get("NO_COLOR") else LineStyle.PLAIN
