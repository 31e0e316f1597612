"""The page as one HTML file: style and script are in it, and it loads nothing.

Every text is escaped. Nothing else in the page can run: its policy (CSP) names the style and the script by their
digests, and allows pictures that the script made and nothing more.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import IO

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from computer_use_cache.report.views import Page

_STYLE = ("page.css", "step.css")
_SCRIPT = ("page.js",)


@dataclass(frozen=True, slots=True)
class _Inlined:
    """A style or script, and how the policy names it."""

    text: Markup
    hash: str


def write(page: Page, file: IO[bytes]) -> None:
    """Write the page piece by piece: with its pictures it may be larger than memory likes."""
    environment = Environment(
        autoescape=True,
        loader=PackageLoader(__package__, ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.jinja")
    template.stream(page=page, style=_inlined(_STYLE), script=_inlined(_SCRIPT)).dump(
        file, encoding="utf-8", errors="replace"
    )


def _inlined(names: tuple[str, ...]) -> _Inlined:
    folder = resources.files(__package__)
    text = "".join((folder / name).read_text(encoding="utf-8") for name in names)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return _Inlined(Markup(text), f"sha256-{digest}")  # noqa: S704 (files of this package)
