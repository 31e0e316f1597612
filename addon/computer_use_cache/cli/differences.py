"""How two requests or answers differ, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from computer_use_cache.runs.comparison import Differences
from computer_use_cache.runs.lines import printable
from computer_use_cache.screens.differences import Difference

_SHOWN = 8


def lines_of(differences: Differences, left: str, right: str) -> Iterator[Text]:
    """The first differences, with the names of the two sides."""
    width = max(len(left), len(right))
    for one in differences.found[:_SHOWN]:
        yield Text(f"  {printable(str(one))}{_share(differences, one.path)}")
        for name, text, style in ((left, one.recorded, "red"), (right, one.asked, "green")):
            shown = Text("nothing", "dim") if text is None else Text(printable(text), style)
            yield Text.assemble(f"    {name:<{width}}  ", shown)
    if len(differences.found) > _SHOWN:
        yield Text(f"  and at {len(differences.found) - _SHOWN} more places", "dim")


def _share(differences: Differences, path: str) -> str:
    compared = differences.compared.get(path)
    return f" ({compared.share:.2%} of the picture)" if isinstance(compared, Difference) else ""
