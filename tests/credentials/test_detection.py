"""Credentials are found in whatever text holds them, to the character; talk about them, code, hashes and data are not
taken for one."""

from __future__ import annotations

import base64
import json
import random
import string
from typing import Any

import pytest

from computer_use_cache.credentials.detection import find_in_body, find_in_text
from credential_samples import TEXTS, VALUES
from harmless_texts import HARMLESS

SECRET = VALUES["GitHub"]
CHANCE = random.Random(1)
BLOB = base64.b64encode(CHANCE.randbytes(6000)).decode()


def found_in(text: str) -> list[str]:
    return [text[secret.start : secret.end] for secret in find_in_text(text)]


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("frame", ["{}", "Here it is:\n{}\nthat is all", "- {}\n" + "- another line\n" * 99])
def test_a_credential_is_found_to_the_character(kind: str, frame: str) -> None:
    found = found_in(frame.format(TEXTS[kind]))
    without_padding = VALUES[kind].rstrip("=")  # some rules end before it
    assert {VALUES[kind], without_padding} & set(found), found


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_a_credential_is_found_in_json_inside_json(kind: str, levels: int) -> None:
    text, escaped = f"# settings\n{TEXTS[kind]}\n# the end", VALUES[kind]
    for _ in range(levels):
        text, escaped = json.dumps({"path": ".env", "content": text}), json.dumps(escaped)[1:-1]
    assert {escaped, escaped.rstrip("=")} & set(found_in(text)), found_in(text)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_a_labelled_secret_is_found_in_json_inside_json(levels: int) -> None:
    password = VALUES["env password"]
    login = base64.b64encode(f"ann:{password}".encode()).decode()
    for label, value in (("password", password), ("SecretKey", password), ("auth", login), ("authorization", SECRET)):
        text = json.dumps({label: value})
        for _ in range(levels):
            text = json.dumps({"output": f"here it is: {text}\n"})
        assert found_in(text) == [value], label


def test_at_least_46_kinds_are_tried() -> None:
    assert len(TEXTS) >= 46
    assert len(HARMLESS) >= 200


@pytest.mark.parametrize("text", HARMLESS)
@pytest.mark.parametrize("frame", ["as it is", "in a conversation", "in JSON"])
def test_talk_and_data_are_not_taken_for_credentials(text: str, frame: str) -> None:
    framed = {
        "as it is": text,
        "in a conversation": f"The file says:\n{text}\nand that is all.",
        "in JSON": json.dumps({"content": f"a\n{text}\nb"}),
    }
    assert found_in(framed[frame]) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{SECRET} {SECRET}", [SECRET, SECRET]),
        (f"postgres://ann:<password>@db.example/x or {TEXTS['postgres URL']}", [VALUES["postgres URL"]]),
        (f'password = "{VALUES["password in code"]}" # {SECRET}', [VALUES["password in code"], SECRET]),
        (f"GITHUB_TOKEN={SECRET}", [SECRET]),
        (f"https://x.example/?a=1&access_token={SECRET}&b=2", [SECRET]),
        (f"https://ann:{SECRET}@git.example/a.git", [SECRET]),
        (f"\u00e4\u6f22\U0001f600 {SECRET} \U0001f600", [SECRET]),
        (f"\ud800 {SECRET} \udfff", [SECRET]),
        (f"\\\\n{SECRET}\\n", [SECRET]),
        (f"data:text/plain,{SECRET}", [SECRET]),
        ("long " * 50_000 + SECRET, [SECRET]),
        (BLOB + " " + SECRET + " " + BLOB, [SECRET]),
        (f"![picture](data:image/png;base64,{BLOB}) {SECRET}", [SECRET]),
    ],
    ids=range(13),
)
def test_what_is_found_is_what_stands_there(text: str, found: list[str]) -> None:
    assert found_in(text) == found


@pytest.mark.parametrize("at", range(0, 3000, 499))
def test_no_credential_begins_or_ends_inside_base64(at: int) -> None:
    key = "AK" + "IA" + "".join(CHANCE.choices(string.ascii_uppercase, k=16))
    for before, after in (("+", "/"), ("/", "+"), ("A", "A"), ("/", " and more"), (" ", "/")):
        left = BLOB[:at] + "A" * 50 if before != " " else ""
        right = BLOB[at : at + 200] if after.strip() in "+/A" else ""
        assert found_in(f"Base64: {left}{before}{key}{after}{right}") == []


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"prompt": SECRET}, ("prompt",)),
        ({"input": ["a", SECRET]}, ("input", 1)),
        ({"messages": [{"content": [{"type": "text", "text": SECRET}]}]}, ("messages", 0, "content", 0, "text")),
        ({"tools": [{"description": SECRET}]}, ("tools", 0, "description")),
    ],
)
def test_a_body_is_searched_wherever_it_has_text(body: dict[str, Any], place: tuple[str | int, ...]) -> None:
    [found] = find_in_body(body)
    assert (found.place, found.text) == (place, SECRET)


@pytest.mark.parametrize("value", [None, True, 1, 0.5, [], {}, [[["a"]]], {"a": {"b": None}}])
def test_a_body_of_anything_can_be_searched(value: object) -> None:
    assert list(find_in_body({"x": value})) == []


def test_a_deeply_nested_body_is_searched() -> None:
    value: object = SECRET
    for _ in range(100_000):
        value = [value]
    [found] = find_in_body({"x": value})
    assert len(found.place) == 100_001


def test_the_name_of_a_kind_does_not_repeat_the_credential() -> None:
    for kind, text in TEXTS.items():
        assert not any(VALUES[kind] in secret.kind for secret in find_in_text(text))
