"""Credentials: what is stored has `<secret n>`, what is served the caller's own; nothing is left in any form."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote

import pytest

from computer_use_cache.formats.base import Json
from computer_use_cache.rebinding import Cause, Concealed, Rebound, Refusal, conceal, conceal_answer, reveal_answer
from rebinding.conversations import CHAT, called, chat, said, streamed_by_character, text_of

ONE, TWO, OTHER = ("key-" + letter * 3 + "4f9/" + letter.upper() * 8 + "+7x" for letter in "abc")
LINES = "BEGIN key\n" + "\n".join("key-" + letter * 20 for letter in "xyz") + "\nEND key"


def find(text: str) -> list[tuple[int, int, str]]:
    found = re.finditer(r"BEGIN key(?:\n|\\+n)[\w\n\\-]+END key|key-[\w/+-]{10,}", text)
    return [(*each.span(), "key") for each in found]


def concealed(body: Json) -> Concealed:
    outcome = conceal(body, find)
    assert isinstance(outcome, Concealed)
    return outcome


def stored_and_served(answer: Json, recorded: tuple[str, ...], present: tuple[str, ...]) -> tuple[str, str]:
    stored = conceal_answer(CHAT, answer, recorded)
    assert isinstance(stored, Rebound)
    served = reveal_answer(CHAT, stored.answer, present)
    assert isinstance(served, Rebound)
    return text_of(stored.answer), text_of(served.answer)


def test_a_body_without_credentials_is_left_alone() -> None:
    body = chat("hello")
    assert concealed(body).body is body


def test_which_credential_it_was_does_not_matter() -> None:
    bodies = [concealed(chat(f"use {key} for it", f"again {key}")).body for key in (ONE, OTHER)]
    assert bodies[0] == bodies[1] == chat("use <secret 1> for it", "again <secret 1>")


def test_two_credentials_stay_two() -> None:
    assert concealed(chat(f"{ONE} {TWO} {ONE}")).body == chat("<secret 1> <secret 2> <secret 1>")


def test_a_credential_in_the_name_of_a_member_is_concealed() -> None:
    assert concealed({"keys": {ONE: 1}}).body == {"keys": {"<secret 1>": 1}}


def test_a_request_that_already_holds_a_mark_is_refused() -> None:
    assert conceal(chat(f"<secret 1> {ONE}"), find) == Refusal(Cause.MARKED)


def test_credentials_are_not_shown() -> None:
    assert ONE not in repr(concealed(chat(ONE)))


def test_an_answer_is_stored_without_and_served_with_the_credential() -> None:
    answer = said(f"Export KEY={ONE}.")
    assert stored_and_served(answer, (ONE,), (OTHER,)) == ("Export KEY=<secret 1>.", f"Export KEY={OTHER}.")


def test_a_credential_inside_a_longer_word_is_replaced() -> None:
    answer = said(f"Post to /bot{ONE}_x")
    assert stored_and_served(answer, (ONE,), (OTHER,)) == ("Post to /bot<secret 1>_x", f"Post to /bot{OTHER}_x")


def test_a_credential_of_many_lines_is_escaped_as_its_place_wants_it() -> None:
    stored, served = stored_and_served(called(json.dumps({"key": LINES})), (LINES,), (LINES.replace("z", "q"),))
    assert "key-" not in stored
    assert json.loads(served) == {"key": LINES.replace("z", "q")}


def test_a_stream_that_cuts_a_credential_is_concealed() -> None:
    stored = conceal_answer(CHAT, streamed_by_character(f"It is {ONE}!"), (ONE,))
    assert isinstance(stored, Rebound)
    assert text_of(CHAT.assemble(stored.answer)) == "It is <secret 1>!"


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda key: base64.b64encode(key.encode()).decode(), id="base64"),
        pytest.param(
            lambda key: base64.b64encode(b"user:" + key.encode()).decode(), id="base64 of basic authentication"
        ),
        pytest.param(lambda key: base64.urlsafe_b64encode(b"ab" + key.encode()).decode(), id="base64 for URLs"),
        pytest.param(lambda key: quote(key, safe=""), id="in a URL"),
        pytest.param(lambda key: key.encode().hex(), id="hex"),
        pytest.param(lambda key: key[::-1], id="reversed"),
        pytest.param(lambda key: key[:-3], id="cut short"),
    ],
)
def test_an_answer_that_holds_another_form_is_not_stored(form: object) -> None:
    assert callable(form)
    assert conceal_answer(CHAT, said(f"It is {form(ONE)}"), (ONE,)) == Refusal(Cause.OTHER_FORM)
