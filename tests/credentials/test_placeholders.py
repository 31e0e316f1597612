"""What is hidden comes back as it was, whatever the credential and wherever it stands."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computer_use_cache.credentials.placeholders import Placeholders, change_texts
from credential_samples import TEXTS, VALUES

SECRET, OTHER, KEY = VALUES["GitHub"], VALUES["GitLab"], VALUES["RSA key"]
AWKWARD = ("a.*b[c]\\d+$|^(?:x)", 'pa"ss\\word', "line\nbreak", "ä\U0001f600", "<secret 1>", "a", "aa", "\\", '"')


def texts_of(body: dict[str, Any], placeholders: Placeholders) -> Any:
    return change_texts(body, placeholders.hide)


def test_equal_credentials_have_one_number_and_other_ones_the_next() -> None:
    body = {"messages": [{"content": f"{SECRET}, {OTHER}"}, {"content": f"again {SECRET}"}]}
    placeholders = Placeholders.of(body)
    assert texts_of(body, placeholders) == {
        "messages": [{"content": "<secret 1>, <secret 2>"}, {"content": "again <secret 1>"}]
    }
    assert change_texts(texts_of(body, placeholders), placeholders.restore) == body


@pytest.mark.parametrize("kind", TEXTS)
def test_another_credential_of_a_kind_gives_the_same_texts(kind: str) -> None:
    text = f"Use it:\n{TEXTS[kind]}\nand tell me."
    hidden = Placeholders.of({"prompt": text}).hide(text)
    assert VALUES[kind] not in hidden
    assert "<secret 1" in hidden


def test_a_credential_with_a_line_break_is_hidden_at_every_depth_of_json() -> None:
    arguments = json.dumps({"key": KEY})
    body = {"texts": [KEY, arguments, json.dumps({"arguments": arguments})]}
    placeholders = Placeholders.of(body)
    hidden = texts_of(body, placeholders)
    assert placeholders.values == (KEY,)
    assert hidden["texts"][0] == "<secret 1 escaped 0>"
    assert json.loads(hidden["texts"][1]) == {"key": "<secret 1 escaped 1>"}
    assert change_texts(hidden, placeholders.restore) == body
    another = Placeholders([VALUES["OpenSSH key"]])
    assert json.loads(another.restore(hidden["texts"][1]) or "") == {"key": VALUES["OpenSSH key"]}


@given(st.lists(st.sampled_from([*AWKWARD, SECRET, KEY, " ", "text", "<secret 2 escaped 1>"]), max_size=12))
def test_there_and_back_is_the_identity(pieces: list[str]) -> None:
    text = "".join(pieces)
    placeholders = Placeholders([*AWKWARD, SECRET, KEY, "<secret 2 escaped 1>"])
    assert placeholders.restore(placeholders.hide(text)) == text
    in_json = json.dumps(text)
    assert placeholders.restore(placeholders.hide(in_json)) == in_json


def test_text_that_looks_like_a_placeholder_comes_back_as_it_was() -> None:
    body = {"prompt": f"What does <secret 1> mean, and {SECRET}?"}
    placeholders = Placeholders.of(body)
    hidden = placeholders.hide(body["prompt"])
    assert hidden == "What does <secret 2> mean, and <secret 1>?"
    assert placeholders.restore(hidden) == body["prompt"]


@pytest.mark.parametrize("text", ["<secret 2>", "a <secret 0>", "<secret 1 escaped 1>"])
def test_a_placeholder_of_no_credential_is_not_restored(text: str) -> None:
    assert Placeholders([SECRET]).restore(text) is None


def test_the_longer_of_two_overlapping_credentials_is_hidden() -> None:
    placeholders = Placeholders([SECRET, f"{SECRET}-{OTHER}", OTHER])
    assert placeholders.hide(f"{SECRET}-{OTHER} {SECRET}") == "<secret 2> <secret 1>"


def test_a_body_without_credentials_stays_as_it_is() -> None:
    placeholders = Placeholders.of({"prompt": "hello"})
    assert placeholders.values == ()
    assert placeholders.hide("hello") == placeholders.restore("hello") == "hello"


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("after", ["", "z", "yz"])
def test_an_encoded_credential_is_noticed(before: str, after: str) -> None:
    value = SECRET + "/+?"
    placeholders = Placeholders([value])
    data = f"{before}{value}{after}".encode()
    for text in (
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode(),
        quote(data, safe=""),
        data.hex(),
    ):
        assert placeholders.remain_in(f"It is {text}.")


@pytest.mark.parametrize(
    ("text", "remains"),
    [
        (f"It begins with {SECRET[:24]}", True),
        (f"It ends in {SECRET[-24:]}", True),
        ("It is <secret 1>.", False),
        ("It begins with ghp_ and is 40 characters long.", False),
        ("-----BEGIN RSA" + " PRIVATE KEY----- is its first line", False),
    ],
)
def test_a_telling_part_of_a_credential_is_noticed(text: str, remains: bool) -> None:
    assert Placeholders([SECRET, KEY]).remain_in(text) is remains
