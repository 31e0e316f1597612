"""A request without its pictures, in every API that carries them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("PIL", reason="Pillow is not installed (scripts/setup dev)")

from computer_use_cache import formats
from computer_use_cache.rebinding import Bindings, Template, template_of
from computer_use_cache.screens.blanking import blanked
from computer_use_cache.screens.picture import Picture
from screenshots import coded, png, scaled, screen

PICTURE = coded(png(screen()))
URL = "data:image/png;base64,"
DATA = {"type": "base64", "media_type": "image/png", "data": PICTURE}


def shown(*content: Any) -> list[Any]:
    return [{"role": "user", "content": list(content)}]


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (
        "chat_completions",
        {"messages": shown({"type": "image_url", "image_url": {"url": URL + PICTURE}})},
    ),
    "a file of chat": ("chat_completions", {"messages": shown({"type": "file", "file": {"file_data": URL + PICTURE}})}),
    "a message of Responses": ("responses", {"input": shown({"type": "input_image", "image_url": URL + PICTURE})}),
    "a computer call": (
        "responses",
        {"input": [{"type": "computer_call_output", "output": {"type": "x", "image_url": URL + PICTURE}}]},
    ),
    "a tool call of Responses": (
        "responses",
        {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": URL + PICTURE}]}]},
    ),
    "Messages": ("messages", {"messages": shown({"type": "image", "source": DATA})}),
    "a tool result": (
        "messages",
        {"messages": shown({"type": "tool_result", "content": [{"type": "image", "source": DATA}]})},
    ),
    "Gemini": ("gemini", {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": PICTURE}}]}]}),
    "Gemini in snake case": ("gemini", {"contents": [{"parts": [{"inline_data": {"data": PICTURE}}]}]}),
    "a tool result of Gemini": (
        "gemini",
        {"contents": [{"parts": [{"functionResponse": {"parts": [{"inlineData": {"data": PICTURE}}]}}]}]},
    ),
}


@pytest.mark.parametrize(("name", "body"), REQUESTS.values(), ids=REQUESTS)
def test_a_picture_gives_way_to_its_size_in_every_place(name: str, body: dict[str, Any]) -> None:
    before = repr(body)
    found, digests = blanked(formats.by_name(name), body)
    assert digests == (Picture(PICTURE).digest,)
    assert repr(found) == before.replace(PICTURE, "<picture 640x480>")
    assert repr(body) == before


def test_a_template_has_pictures_apart_from_its_values() -> None:
    """So that entries recorded with another screen can be found, and approved picture by picture."""

    def template(picture: str) -> Template:
        content = [
            {"type": "text", "text": "see /tmp/tmp8x2k1q"},
            {"type": "image", "source": DATA | {"data": picture}},
        ]
        body = {"model": "m", "messages": [{"role": "user", "content": content}]}
        return template_of(formats.by_name("messages"), body, Bindings())

    one, other, smaller = (template(coded(png(page))) for page in (screen(), screen(price="9.80"), scaled(screen())))
    assert one.body == other.body != smaller.body
    assert one.values == other.values
    assert one.pictures == (Picture(PICTURE).digest,) != other.pictures


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://example.org/" + "a" * 2000, id="a link"),
        pytest.param(URL + PICTURE[:400], id="an icon"),
        pytest.param("data:text/plain;base64," + "QUJD" * 500, id="a text"),
        pytest.param(URL + PICTURE[:-9] + "*" + PICTURE[-8:], id="not base64"),
    ],
)
def test_what_is_not_a_screenshot_stays(url: str) -> None:
    body = {"messages": shown({"type": "image_url", "image_url": {"url": url}})}
    found, digests = blanked(formats.by_name("chat_completions"), body)
    assert found is body
    assert digests == ()
