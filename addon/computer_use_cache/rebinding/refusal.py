"""Why a recorded answer is not served for another run's request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """The statistics count by these words."""

    VALUES = "the requests hold different kinds of values"
    FORM = "a value has another form"
    NAMES = "names differ in words"
    TOO_MANY = "too many values moved"
    NOT_ONE_TO_ONE = "values do not map one to one"
    ORDER = "times or dates come in another order"
    AMBIGUOUS = "a recorded value stands for two present ones"
    TRACE = "a trace of the recorded run would remain"
    COMPUTED = "a time or date is computed"
    SIGNED = "a signed part holds a value that moved"
    POSITIONS = "the answer counts characters or tokens"
    ESCAPES = "a value would need other escapes"
    PICTURE = "a picture differs"
    OFF = "values moved, and CACHE_REBIND is off"
    LIMIT = "the answer may not fit within another limit"
    STATE = "the provider keeps the answer under its id"
    NOT_TEXT = "the answer is not text"
    OTHER_FORM = "the answer holds a part or another form of a secret"
    NEW_CREDENTIAL = "the answer holds a credential that the request does not"
    MARKED = "the request holds what stands for a secret here"
    MALFORMED = "the recorded answer cannot be rebuilt"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The verdict that an answer is not rebound. `detail` names the kind at fault, never a value."""

    cause: Cause
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.cause}: {self.detail}" if self.detail else self.cause
