"""Rebinding there and back is the identity, and no recorded value that moved is left, whatever is said."""

from __future__ import annotations

import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from computer_use_cache.rebinding import Rebound
from rebinding.conversations import CHAT, carried, chat, digest, said, streamed_by_character, template, text_of

Draw = Any
NAME = st.text("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=8, max_size=8)
MOMENT = st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2100, 1, 1))
KINDS = {
    "uuid": st.uuids(version=4).map(str),
    "tmp": NAME.map("/tmp/agent-{}".format),
    "id": st.uuids(version=4).map(lambda value: f"call_{value.hex[:24]}"),
    "pid": st.integers(10_000, 99_999).map(str),
    "date": MOMENT,
    "time": MOMENT,
}
LABELS = {"pid": "PID: {}"}
FORMS = {"date": "%Y-%m-%d", "time": "%Y-%m-%dT%H:%M:%S.%fZ"}
WORDS = st.sampled_from(
    ["the answer", "is", "done.", "\n", "(in)", "écrit", "א", "😀", "{", '"', "7", "$5", "`x`", "uuid"]
)


@st.composite
def runs(draw: Draw) -> tuple[list[str], list[str], list[str]]:
    """The kinds of some values, and the values of two runs. All clocks go on by the same time."""
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6))
    later = draw(st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=1000)))
    old, new = [], []
    for kind in kinds:
        value = draw(KINDS[kind])
        form = FORMS.get(kind)
        old.append(value.strftime(form) if form else value)
        new.append((value + later).strftime(form) if form else draw(KINDS[kind]))
    return kinds, old, new


@st.composite
def sentences(draw: Draw, count: int) -> list[str | int]:
    """Words, and the numbers of values."""
    return draw(st.lists(WORDS | st.integers(0, count - 1), max_size=12))


def written(parts: list[str | int], values: list[str]) -> str:
    return " ".join(part if isinstance(part, str) else values[part] for part in parts)


def question(kinds: list[str], values: list[str], parts: list[str | int]) -> Any:
    """A request that names every value, and says something with some of them."""
    labelled = " ; ".join(LABELS.get(kind, "{}").format(value) for kind, value in zip(kinds, values, strict=True))
    return template(chat(f"Values: {labelled} .", written(parts, values)))


def are_apart(*runs: list[str]) -> bool:
    every = [value for values in runs for value in values]
    return not any(one in other for at, one in enumerate(every) for to, other in enumerate(every) if at != to)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_there_and_back_is_the_identity_and_nothing_of_the_other_run_is_left(data: Draw) -> None:
    kinds, old, new = data.draw(runs())
    asked, told = (data.draw(sentences(len(kinds))) for _ in range(2))
    recorded, present = (question(kinds, values, asked) for values in (old, new))
    if not are_apart(old, new):
        return
    assert digest(recorded) == digest(present)
    there = carried(recorded, present, said(written(told, old)))
    assert isinstance(there, Rebound)
    assert text_of(there.answer) == written(told, new)
    assert not any(value in text_of(there.answer) for value in old)
    back = carried(present, recorded, there.answer)
    assert isinstance(back, Rebound)
    assert back.answer == said(written(told, old))


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_it_does_not_matter_where_a_stream_is_cut(data: Draw) -> None:
    kinds, old, new = data.draw(runs())
    told = data.draw(sentences(len(kinds)))
    recorded, present = (question(kinds, values, []) for values in (old, new))
    if not are_apart(old, new):
        return
    streamed = carried(recorded, present, streamed_by_character(written(told, old)))
    whole = carried(recorded, present, said(written(told, old)))
    assert isinstance(streamed, Rebound) == isinstance(whole, Rebound)
    if isinstance(streamed, Rebound) and isinstance(whole, Rebound) and told:
        assert text_of(CHAT.assemble(streamed.answer)) == text_of(whole.answer)


@given(st.lists(st.uuids(version=4).map(str), min_size=2, max_size=8, unique=True), st.randoms())
@settings(deadline=None)
def test_values_that_swap_their_places_are_not_confused(old: list[str], random: Any) -> None:
    new = random.sample(old, len(old))
    recorded, present = (template(chat(" ".join(values))) for values in (old, new))
    outcome = carried(recorded, present, said(" ".join(old)))
    assert isinstance(outcome, Rebound)
    assert text_of(outcome.answer) == " ".join(new)
