"""What is kept of a request's data: its digest, and nothing else is touched."""

from __future__ import annotations

import hashlib

import pytest

from computer_use_cache.diagnosis.request_record import Taken, without_media

DATA = "QUJD+/_-" * 128
URL = "data:image/png;base64,"


def digest(data: str) -> str:
    return f"<sha256:{hashlib.sha256(data.encode()).hexdigest()} of {len(data)} characters>"


@pytest.mark.parametrize("head", ["", URL, "data:;base64,", f"data:{'x' * 200};base64,"])
@pytest.mark.parametrize("end", ["", "=", "=="])
def test_long_base64_becomes_its_digest(head: str, end: str) -> None:
    sent = {"content": [{"url": f"{head}{DATA}A{end}"}, 1, None]}
    taken: list[Taken] = []
    assert without_media(sent, taken) == {"content": [{"url": head + digest(f"{DATA}A{end}")}, 1, None]}
    assert [(each.before, each.text) for each in taken] == [(head, f"{DATA}A{end}")]


@pytest.mark.parametrize(
    "text",
    [
        DATA[:-1],
        URL + DATA[:-1] + "==",
        f"{DATA}===",
        f"{DATA}=A",
        f"{DATA} ",
        f"{DATA}\n",
        f"{DATA}é",
        f"{DATA}\ud800",
        "A long text of words. " * 100,
        f"data:image/png,{DATA}",
        f"data:{'x' * 201};base64,{DATA}",
        f" {URL}{DATA}",
    ],
)
def test_any_other_text_is_kept_as_it_is(text: str) -> None:
    assert without_media([text], []) == [text]
