"""What the page shows, ready for its template: texts, numbers as a person reads them, and places in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from computer_use_cache.formats.actions import Point
from computer_use_cache.formats.item import Kind
from computer_use_cache.models import Outcome


class Mark(StrEnum):
    """How a piece of a text relates to the other side's."""

    SAME = "same"
    DIFFERENT = "different"
    LEFT_OUT = "left out"
    """Says how much of what both sides share is not shown."""


class Form(StrEnum):
    """What is drawn on a picture."""

    CLICK = "click"
    DOUBLE_CLICK = "double"
    MOVE = "move"
    ARROW = "arrow"
    BOX = "box"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text that is compared with another."""

    mark: Mark
    text: str


@dataclass(frozen=True, slots=True)
class Shape:
    """Something drawn on a picture, in the picture's pixels. `points` are a point, the path of an arrow, or two corners
    of a box; `head` are the points of an arrow's head."""

    form: Form
    points: tuple[Point, ...]
    head: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture by its digest, "" if its data is not in the page. A size of 0 x 0 is unknown. `keys` is what was typed
    or pressed on it."""

    digest: str
    width: int
    height: int
    alt: str
    shapes: tuple[Shape, ...] = ()
    keys: str = ""


@dataclass(frozen=True, slots=True)
class ItemView:
    """An item of a conversation. `title` is the speaker, or the tool and what it does."""

    kind: Kind
    title: str
    text: str
    picture: Picture | None = None
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A place where two requests or answers differ: two texts in pieces, or two pictures. A side that has nothing there
    is None."""

    place: str
    left: tuple[Piece, ...] | Picture | None
    right: tuple[Piece, ...] | Picture | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two sides differ. `more` is the number of places that are not shown, `cure` what would have made it a hit."""

    title: str
    left: str
    right: str
    changes: tuple[Change, ...]
    more: int = 0
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a run. `caption` says in a few words what the model did. `facts` are labels and values."""

    number: int
    outcome: Outcome
    caption: str
    facts: tuple[tuple[str, str], ...]
    note: str
    screen: Picture | None
    new: tuple[ItemView, ...]
    changed: Comparison | None
    cut: tuple[ItemView, ...]
    answer: tuple[ItemView, ...]
    near: Comparison | None


@dataclass(frozen=True, slots=True)
class Run:
    """One run, with its totals as labels and values."""

    id: str
    name: str
    facts: tuple[str, ...]
    totals: tuple[tuple[str, str, str], ...]
    """Label, value and explanation of each."""


@dataclass(frozen=True, slots=True)
class Row:
    """The same step of each run; None where a run has ended. `difference` is between two runs."""

    number: int
    steps: tuple[Step | None, ...]
    difference: Comparison | None = None

    @property
    def is_miss(self) -> bool:
        """Whether any of its calls was not answered from the store."""
        return any(step is not None and step.outcome not in (Outcome.HIT, Outcome.COALESCED) for step in self.steps)


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page: one run, or two beside each other. `media` are the pictures' types and base64 by digest.
    `diverges_at` is the step at which two runs diverge, as `diff` finds it; 0 if they do not."""

    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    media: dict[str, tuple[str, str]]
    diverges_at: int = 0
