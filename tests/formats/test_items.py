"""Conversations as items: every API's texts, thinking, calls, results and pictures come out the same, and so do the
actions on a screen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from computer_use_cache import formats
from computer_use_cache.diagnosis.request_record import without_media
from computer_use_cache.formats import actions, items
from computer_use_cache.formats.actions import Action, Gesture
from computer_use_cache.formats.item import Item, Kind
from computer_use_cache.formats.media import Media
from pictures import PNG, coded

SCREENSHOT = coded(PNG + bytes(2001))
DATA_URL = f"data:image/png;base64,{SCREENSHOT}"
ARGUMENTS = json.dumps({"x": 1})
CLICK = Action(Gesture.CLICK, ((1, 2),))

REQUESTS: dict[str, dict[str, Any]] = {
    "chat_completions": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Look:"}]},
            {
                "role": "assistant",
                "reasoning_content": "A button.",
                "tool_calls": [{"id": "c1", "function": {"name": "see", "arguments": ARGUMENTS}}],
            },
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [{"type": "text", "text": "seen"}, {"image_url": {"url": DATA_URL}}],
            },
        ]
    },
    "responses": {
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Look:"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "A button."}]},
            {"type": "function_call", "call_id": "c1", "name": "see", "arguments": ARGUMENTS},
            {
                "type": "function_call_output",
                "call_id": "c1",
                "output": [
                    {"type": "input_text", "text": "seen"},
                    {"type": "input_image", "image_url": DATA_URL},
                ],
            },
        ],
    },
    "messages": {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": "Look:"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "A button.", "signature": "s"},
                    {"type": "tool_use", "id": "c1", "name": "see", "input": {"x": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "content": [
                            {"type": "text", "text": "seen"},
                            {"type": "image", "source": {"media_type": "image/png", "data": SCREENSHOT}},
                        ],
                    }
                ],
            },
        ],
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Look:"}]},
            {
                "role": "model",
                "parts": [
                    {"text": "A button.", "thought": True},
                    {"functionCall": {"id": "c1", "name": "see", "args": {"x": 1}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {
                        "functionResponse": {
                            "id": "c1",
                            "name": "see",
                            "response": "seen",
                            "parts": [{"inlineData": {"mimeType": "image/png", "data": SCREENSHOT}}],
                        }
                    }
                ],
            },
        ],
    },
    "bedrock-converse": {
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": "Look:"}]},
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "A button."}}},
                    {"toolUse": {"toolUseId": "c1", "name": "see", "input": {"x": 1}}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "toolResult": {
                            "toolUseId": "c1",
                            "content": [
                                {"text": "seen"},
                                {"image": {"format": "png", "source": {"bytes": SCREENSHOT}}},
                            ],
                        }
                    }
                ],
            },
        ],
    },
    "ollama_chat": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look:"},
            {
                "role": "assistant",
                "thinking": "A button.",
                "tool_calls": [{"id": "c1", "function": {"name": "see", "arguments": {"x": 1}}}],
            },
            {"role": "tool", "tool_name": "c1", "content": "seen", "images": [SCREENSHOT]},
        ]
    },
    "cohere_chat": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look:"},
            {
                "role": "assistant",
                "tool_plan": "A button.",
                "tool_calls": [{"id": "c1", "function": {"name": "see", "arguments": ARGUMENTS}}],
            },
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [{"type": "text", "text": "seen"}, {"image_url": {"url": DATA_URL}}],
            },
        ]
    },
}
"""The same conversation in every API that has tools: one picture in the result of one call."""
REQUESTS["code_assist"] = {"model": "m", "request": REQUESTS["gemini"]}
REQUESTS["bedrock-messages"] = REQUESTS["messages"]

ANSWERS: dict[str, dict[str, Any]] = {
    "chat_completions": {"choices": [{"message": REQUESTS["chat_completions"]["messages"][2]}]},
    "responses": {"output": REQUESTS["responses"]["input"][1:3]},
    "messages": {"role": "assistant", "content": REQUESTS["messages"]["messages"][1]["content"]},
    "bedrock-messages": {"role": "assistant", "content": REQUESTS["messages"]["messages"][1]["content"]},
    "gemini": {"candidates": [{"content": REQUESTS["gemini"]["contents"][1]}]},
    "code_assist": {"response": {"candidates": [{"content": REQUESTS["gemini"]["contents"][1]}]}},
    "bedrock-converse": {"output": {"message": REQUESTS["bedrock-converse"]["messages"][1]}},
    "ollama_chat": {"message": REQUESTS["ollama_chat"]["messages"][2]},
    "cohere_chat": {"message": REQUESTS["cohere_chat"]["messages"][2]},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_conversation_has_the_same_items_in_every_api(name: str) -> None:
    taken: list[Any] = []
    recorded = without_media(REQUESTS[name], taken)
    found = items.of_request(formats.by_name(name), recorded)
    *_, result, picture = found
    assert [(item.kind, item.text) for item in found[:3]] == [
        (Kind.TEXT, "Be brief."),
        (Kind.TEXT, "Look:"),
        (Kind.THINKING, "A button."),
    ]
    assert (found[3].kind, found[3].name, found[3].arguments, found[3].call_id) == (Kind.CALL, "see", {"x": 1}, "c1")
    assert (result.kind, result.text.strip('"'), result.call_id) == (Kind.RESULT, "seen", "c1")
    assert (picture.kind, picture.call_id) == (Kind.MEDIA, "c1")
    assert picture.media
    assert picture.media.is_picture
    assert picture.media.digest == taken[0].digest
    assert f"{len(PNG) + 2001:,} bytes" in picture.text, "the size of the picture, not of what stands for it"


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_the_same_items_in_every_api(name: str) -> None:
    thought, call = items.of_answer(formats.by_name(name), ANSWERS[name])
    assert (thought.kind, thought.text) == (Kind.THINKING, "A button.")
    assert (call.kind, call.name, call.arguments, call.call_id) == (Kind.CALL, "see", {"x": 1}, "c1")


V1_CALL = {"name": "see", "parameters": {"x": 1}}


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("completions", {"prompt": "Once"}, [("user", Kind.TEXT, "Once")]),
        ("embeddings", {"input": ["a", [1, 2]]}, [("", Kind.VALUE, "a"), ("", Kind.VALUE, "2 tokens")]),
        ("ollama_generate", {"prompt": "Look:", "images": ["AAAA"]}, ["Look:", "[image, 3 bytes]"]),
        (
            "cohere_chat_v1",
            {
                "preamble": "Be brief.",
                "chat_history": [{"role": "USER", "message": "Look:"}, {"role": "CHATBOT", "tool_calls": [V1_CALL]}],
                "tool_results": [{"call": V1_CALL, "outputs": ["seen"]}],
                "message": "And now?",
            },
            ["Be brief.", "Look:", '{\n  "x": 1\n}', "And now?", ("user", Kind.RESULT, "seen")],
        ),
        ("bedrock-invoke", {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}, ["Hi"]),
        ("responses", {"input": "Hi"}, [("user", Kind.TEXT, "Hi")]),
        ("chat_completions", {"messages": [{"unknown": 1}]}, [("", Kind.OTHER, '{\n  "unknown": 1\n}')]),
    ],
)
def test_other_requests_are_items_too(name: str, body: dict[str, Any], expected: list[Any]) -> None:
    found = items.of_request(formats.by_name(name), body)
    texts = [item.text if isinstance(one, str) else _told(item) for item, one in zip(found, expected, strict=True)]
    assert texts == expected


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("ollama_generate", {"response": "Hi", "thinking": "Hm"}, [Kind.THINKING, Kind.TEXT]),
        ("cohere_chat_v1", {"text": "Hi", "tool_calls": [V1_CALL]}, [Kind.TEXT, Kind.CALL]),
        ("embeddings", {"data": [{"embedding": [0.5] * 9}]}, [Kind.VALUE]),
        ("images", {"data": [{"b64_json": "AAAA"}]}, [Kind.MEDIA]),
        ("chat_completions", {"choices": [{"message": {"refusal": "No."}}]}, [Kind.REFUSAL]),
        ("chat_completions", {"error": {"message": "no"}}, []),
    ],
)
def test_other_answers_are_items_too(name: str, answer: dict[str, Any], expected: list[Kind]) -> None:
    assert [item.kind for item in items.of_answer(formats.by_name(name), answer)] == expected


def test_items_are_equal_if_they_say_the_same_in_another_place() -> None:
    one = Item("user", Kind.RESULT, "seen", turn=2, call_id="c1")
    assert one == Item("user", Kind.RESULT, "seen", turn=4, call_id="c9")
    assert one != Item("user", Kind.RESULT, "seen", turn=2, call_id="c1", is_error=True)
    shown = [Item("user", Kind.MEDIA, "[image/png]", media=Media("image/png", data)) for data in ("AAAA", "BBBB")]
    assert shown[0] != shown[1]


def _told(item: Item) -> tuple[str, Kind, str]:
    return item.role, item.kind, item.text


# -- actions


@pytest.mark.parametrize(
    ("name", "arguments", "shown"),
    [
        ("computer", {"type": "click", "button": "left", "x": 412, "y": 88}, "click(412, 88)"),
        ("computer", {"type": "click", "button": "right", "x": 4, "y": 8}, "click(4, 8, right)"),
        ("computer", {"type": "double_click", "x": 4, "y": 8}, "double_click(4, 8)"),
        ("computer", {"type": "drag", "path": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}, "drag(1, 2 → 3, 4)"),
        ("computer", {"type": "move", "x": 4, "y": 8}, "move(4, 8)"),
        ("computer", {"type": "type", "text": "hello"}, 'type("hello")'),
        ("computer", {"type": "keypress", "keys": ["CTRL", "C"]}, "key(CTRL+C)"),
        ("computer", {"type": "scroll", "x": 4, "y": 8, "scroll_x": 0, "scroll_y": -300}, "scroll(4, 8, up 300)"),
        ("computer", {"type": "wait"}, "wait()"),
        ("computer", {"type": "screenshot"}, "screenshot()"),
        ("computer", {"actions": [{"type": "click", "x": 4, "y": 8}, {"type": "wait"}]}, "click(4, 8) wait()"),
        ("computer", {"action": "left_click", "coordinate": [412, 88]}, "click(412, 88)"),
        ("computer", {"action": "right_click", "coordinate": [4, 8]}, "click(4, 8, right)"),
        ("computer", {"action": "triple_click", "coordinate": [4, 8]}, "double_click(4, 8)"),
        (
            "computer",
            {"action": "left_click_drag", "start_coordinate": [1, 2], "coordinate": [3, 4]},
            "drag(1, 2 → 3, 4)",
        ),
        ("computer", {"action": "mouse_move", "coordinate": [4, 8]}, "move(4, 8)"),
        ("computer", {"action": "type", "text": "hello"}, 'type("hello")'),
        ("computer", {"action": "key", "text": "ctrl+c"}, "key(ctrl+c)"),
        (
            "computer",
            {"action": "scroll", "coordinate": [4, 8], "scroll_direction": "down", "scroll_amount": 3},
            "scroll(4, 8, down 3)",
        ),
        ("computer", {"action": "wait", "duration": 2}, "wait(2 s)"),
        ("click_at", {"x": 500, "y": 250}, "click(500, 250)"),
        ("hover_at", {"x": 500, "y": 250}, "move(500, 250)"),
        ("type_text_at", {"x": 5, "y": 2, "text": "hello", "press_enter": True}, 'type(5, 2, "hello")'),
        ("scroll_document", {"direction": "down"}, "scroll(down)"),
        ("drag_and_drop", {"x": 1, "y": 2, "destination_x": 3, "destination_y": 4}, "drag(1, 2 → 3, 4)"),
        ("key_combination", {"keys": "control+c"}, "key(control+c)"),
        ("navigate", {"url": "https://shop.example/"}, "navigate(https://shop.example/)"),
        ("open_web_browser", {}, "navigate()"),
        ("wait_5_seconds", {}, "wait()"),
        ("browser_mouse_click_xy", {"element": "Buy", "x": 4, "y": 8}, "click(4, 8)"),
        ("browser_mouse_drag_xy", {"startX": 1, "startY": 2, "endX": 3, "endY": 4}, "drag(1, 2 → 3, 4)"),
        ("browser_click", {"element": "Buy", "ref": "e12"}, "click(Buy)"),
        ("browser_type", {"element": "Search", "ref": "e3", "text": "hello"}, 'type("hello")'),
        ("browser_press_key", {"key": "Enter"}, "key(Enter)"),
        ("browser_navigate", {"url": "https://shop.example/"}, "navigate(https://shop.example/)"),
        ("browser_take_screenshot", {}, "screenshot()"),
        ("AgentOutput", {"action": [{"click": {"coordinate_x": 4, "coordinate_y": 8}}]}, "click(4, 8)"),
        ("AgentOutput", {"action": [{"go_to_url": {"url": "https://a.example"}}]}, "navigate(https://a.example)"),
        ("computer_use", {"action": "left_click", "coordinate": [4.5, 8]}, "click(4.5, 8)"),
        ("bash", {"command": "ls"}, ""),
        ("write_file", {"path": "a", "type": "click"}, ""),
        ("wait_agent", {"id": "x"}, ""),
        ("get_weather", {"x": 1, "y": 2}, ""),
        ("click", "not an object", ""),
        ("computer", {"type": "click", "x": "4", "y": None}, "click()"),
        ("computer", {"type": "drag", "path": [1, {"x": 1}]}, "drag()"),
        ("computer", {"type": "click", "x": 10**400, "y": 1}, "click()"),
        ("computer", {"type": "click", "coordinate": [float("inf"), float("nan")]}, "click()"),
        ("computer", {"type": "scroll", "x": 1, "y": 1, "scroll_x": 10**400, "scroll_y": -(10**400)}, "scroll(1, 1)"),
        ("computer", {"action": "wait", "duration": 10**400}, f"wait(1{'0' * 59}…)"),
    ],
    ids=str,
)
def test_what_a_call_does_on_the_screen(name: str, arguments: Any, shown: str) -> None:
    assert " ".join(map(str, actions.of_call(name, arguments))) == shown


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (
            "responses",
            {"output": [{"type": "computer_call", "call_id": "c", "action": {"type": "click", "x": 1, "y": 2}}]},
        ),
        (
            "responses",
            {"output": [{"type": "computer_call", "call_id": "c", "actions": [{"type": "click", "x": 1, "y": 2}]}]},
        ),
        (
            "messages",
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "name": "computer", "input": {"action": "left_click", "coordinate": [1, 2]}}
                ],
            },
        ),
        (
            "chat_completions",
            {"choices": [{"message": {"content": json.dumps({"action": [{"click": {"x": 1, "y": 2}}]})}}]},
        ),
    ],
)
def test_the_actions_in_an_answer_are_found(name: str, answer: dict[str, Any]) -> None:
    [item] = items.of_answer(formats.by_name(name), answer)
    assert item.actions == (CLICK,)


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ({"tools": [{"type": "computer_use_preview", "display_width": 1024, "display_height": 768}]}, (1024, 768)),
        ({"tools": [{"type": "computer_20250124", "display_width_px": 800, "display_height_px": 600}]}, (800, 600)),
        (
            {
                "additionalModelRequestFields": {
                    "tools": [{"name": "computer", "display_width_px": 800, "display_height_px": 600}]
                }
            },
            (800, 600),
        ),
        ({"tools": [{"computerUse": {"environment": "ENVIRONMENT_BROWSER"}}]}, (1000, 1000)),
        ({"tools": [{"type": "function", "name": "click"}]}, None),
        ({"tools": "none"}, None),
        ({}, None),
    ],
)
def test_the_screen_has_the_size_that_the_tools_declare(body: dict[str, Any], size: tuple[int, int] | None) -> None:
    assert actions.screen_size(body) == size
