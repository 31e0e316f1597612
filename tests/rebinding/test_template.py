"""Templates: which requests have the same one, and which values are taken out, in which order."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgpack
import pytest

from computer_use_cache.rebinding import Cause, Moves, Refusal, Value, approve
from computer_use_cache.rebinding.kinds import Kinds
from rebinding.conversations import GEMINI, MESSAGES, RESPONSES, chat, digest, template

A, B = "3f2b8c1e-9d4a-4c6b-8e7f-1a2b3c4d5e6f", "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"
BASE64 = "iVBORw0KGgo" + "A1b2" * 200


def same(one: Any, other: Any, **more: Any) -> bool:
    return digest(template(one, **more)) == digest(template(other, **more))


def test_values_come_in_order_and_equal_ones_once() -> None:
    body = chat(f"{A} at 2026-11-26", f"{B} and {A} on 2026-11-26")
    assert template(body).values == (("uuid", A), ("date", "2026-11-26"), ("uuid", B), ("date", "2026-11-26"))


def test_bindings_come_first_whether_they_are_found_or_not() -> None:
    values = template(chat(f"in /home/anna, {A}"), "home=/home/anna,cwd=/work").values
    assert values == (("home", "/home/anna"), ("cwd", "/work"), ("uuid", A))


def test_the_order_of_members_does_not_matter() -> None:
    one, other = {"b": A, "a": B}, {"a": B, "b": A}
    assert template(chat("x", extra=one)).values == template(chat("x", extra=other)).values
    assert same(chat("x", extra=one), chat("x", extra=other))


def test_the_body_is_left_alone() -> None:
    body = chat(f"id {A}", "\0", extra={"list": [A, {"deep": A}]})
    before = copy.deepcopy(body)
    template(body)
    assert body == before


def test_values_survive_the_store() -> None:
    one, other = (
        template(chat(f"id {value} in /home/{user}"), f"home=/home/{user}") for value, user in ((A, "a"), (B, "b"))
    )
    stored = msgpack.unpackb(msgpack.packb(one.values), use_list=False)
    moves = approve(stored, other.values, Kinds())
    assert isinstance(moves, Moves)
    assert moves.pairs == ((Value("uuid", A), B), (Value("home", "/home/a"), "/home/b"))


def test_values_of_other_kinds_are_refused() -> None:
    assert isinstance(approve([("uuid", A)], [("hex", A)], Kinds()), Refusal)
    assert isinstance(approve([("uuid", A)], [], Kinds()), Refusal)


def test_numbered_values_that_do_not_map_one_to_one_are_refused() -> None:
    two, one = [("uuid", A), ("uuid", B)], [("uuid", A), ("uuid", A)]
    assert approve(two, one, Kinds()) == approve(one, two, Kinds()) == Refusal(Cause.NOT_ONE_TO_ONE)


@pytest.mark.parametrize(
    "member",
    [
        pytest.param({"model": "gpt-4o-2024-0{}-06"}, id="a model"),
        pytest.param({"previous_response_id": "resp_a1b2c3d4e5f6{}7h8"}, id="state at the provider"),
        pytest.param({"input": [{"type": "item_reference", "id": "msg_a1b2c3d4e5f6{}7h8"}]}, id="a reference"),
        pytest.param({"input": [{"content": [{"file_id": "file_a1b2c3d4e5f6{}7h8"}]}]}, id="a file"),
        pytest.param({"input": [{"content": [{"image_url": "https://a.example/2024-01-0{}.png"}]}]}, id="a link"),
        pytest.param({"input": BASE64 + "/{}"}, id="a picture"),
        pytest.param({"temperature": 0.5, "seed": "{}"}, id="a setting"),
    ],
)
def test_what_names_something_elsewhere_stays(member: Any) -> None:
    def body(figure: str) -> Any:
        return {"model": "m", "store": False} | fill(member, figure)

    assert not same(body("1"), body("2"), format=RESPONSES)


def fill(value: Any, figure: str) -> Any:
    match value:
        case str():
            return value.replace("{}", figure)
        case list():
            return [fill(item, figure) for item in value]
        case dict():
            return {name: fill(item, figure) for name, item in value.items()}
    return value


def test_the_arguments_of_a_tool_are_text_whatever_their_names() -> None:
    def body(port: int) -> Any:
        call = {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {"url": f"http://localhost:{port}/"}}
        return {"model": "m", "messages": [{"role": "assistant", "content": [call]}]}

    assert same(body(34567), body(45678), format=MESSAGES)


def calling(text: str, arguments: Any) -> Any:
    """A request to Messages in whose history a tool was called with these arguments."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "kill", "input": arguments}
    return {"model": "m", "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": [call]}]}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("PID: {}", {"pid": 0}),
        ("PID: {}", {"process": 0}),
        ("PID: {}", {"all": [0, 5]}),
        ("begin", {"pid": 0}),
    ],
    ids=["behind its name", "under another name", "in a list", "without a mention"],
)
def test_a_number_in_the_arguments_of_a_tool_moves_as_its_text_does(text: str, arguments: Any) -> None:
    def body(pid: Any, used: Any) -> Any:
        return calling(text.format(pid), json.loads(json.dumps(arguments).replace("0", json.dumps(used))))

    one = body(28358, 28358)
    assert same(one, body(31999, 31999), format=MESSAGES)
    assert not same(one, body(31999, "31999"), format=MESSAGES)
    if "{}" in text and "pid" not in arguments:
        assert not same(one, body(31999, 31998), format=MESSAGES)
    assert isinstance(one["messages"][1]["content"][0]["input"], dict)


def test_a_number_in_the_arguments_of_a_tool_that_is_no_value_stays() -> None:
    texts = ("PID: 28358", "PID: 31999")
    for arguments in ({"x": 28359}, {"x": 128358}, {"x": 2835.8}, {"x": True}, {"coordinate": [412, 1388]}):
        assert same(*(calling(text, arguments) for text in texts), format=MESSAGES)
    assert not same(*(calling("PID: 28358", {"x": x}) for x in (1388, 1389)), format=MESSAGES)


def test_ids_of_calls_are_values_by_their_place() -> None:
    def body(name: str) -> Any:
        call = {"functionCall": {"name": "write_file", "args": {}, "id": name}}
        result = {"functionResponse": {"name": "write_file", "response": {}, "id": name}}
        return {"contents": [{"role": "model", "parts": [call]}, {"role": "user", "parts": [result]}]}

    one, other = body("write_file_1795721155373_0"), body("write_file_1795728320071_0")
    assert same(one, other, format=GEMINI)
    assert template(one, format=GEMINI).values == (("call", "write_file_1795721155373_0"),)
    other["contents"][1]["parts"][0]["functionResponse"]["id"] = "write_file_1"
    assert not same(one, other, format=GEMINI)


def test_lone_surrogates_do_not_stand_in_the_way() -> None:
    assert same(chat(f"\ud800 {A}"), chat(f"\ud800 {B}"))
    assert not same(chat(f"\ud800 {A}"), chat(f"\udfff {B}"))
