"""What is kept of a request's data: its digest, and nothing else is touched."""

from __future__ import annotations

import hashlib
import json

import pytest

from computer_use_cache.diagnosis.request_record import Taken, bytes_without_media, without_media

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


@pytest.mark.parametrize("head", ["", URL, 'data:a"b\\;base64,', "data:é;base64,"])
def test_what_was_sent_is_recorded_without_its_data(head: str) -> None:
    sent = {"a": f"{head}{DATA}", "b": [f"{head}{DATA}=="]}
    taken: list[Taken] = []
    recorded = without_media(sent, taken)
    written = bytes_without_media(json.dumps(sent, ensure_ascii=False).encode(), taken)
    assert written
    assert json.loads(written) == recorded


def test_what_is_written_in_another_way_is_not_found() -> None:
    taken: list[Taken] = []
    without_media([2 * DATA, f"data:\ud800;base64,{DATA}"], taken)
    plain, odd = taken
    body = json.dumps([2 * DATA]).encode()
    assert bytes_without_media(body, [plain])
    assert bytes_without_media(body.replace(b"/", b"\\/"), [plain]) is None
    assert bytes_without_media(body, [odd]) is None
