"""A text that a person gives is an answer of the API, in every shape; and a call can be asked of another model."""

from __future__ import annotations

import json

import pytest

from computer_use_cache import formats
from computer_use_cache.errors import FormatError
from computer_use_cache.formats.base import Format
from computer_use_cache.models import Shape

SPEAKING = [format for format in formats.FORMATS if format.answers_in_text]
SHAPES = {"code_assist": Shape.ARRAY, "gemini": Shape.ARRAY, "cohere_chat_v1": Shape.LINES}
SHAPES |= {"ollama_chat": Shape.LINES, "ollama_generate": Shape.LINES}
SHAPES |= {"bedrock-converse": Shape.AWS, "bedrock-messages": Shape.AWS}
TEXT = 'It is "sunny",\nand 21 °C. 🌞'


@pytest.mark.parametrize("format", SPEAKING, ids=lambda found: found.name)
def test_a_text_becomes_a_whole_answer_that_says_it_in_both_shapes(format: Format) -> None:
    answer = format.text_answer(TEXT, "a-model")
    assert not format.check_answer(answer).is_silent
    assert format.answered in format.opened_answer(answer)
    shape = SHAPES.get(format.name, Shape.SSE)
    stream = b"".join(format.join_stream(format.explode(answer, with_usage=True), shape))
    events = format.split_stream(stream, shape)
    assert not format.check_events(events, ended=True).is_silent
    assert json.dumps(TEXT) in json.dumps(format.assemble(events))


@pytest.mark.parametrize("name", ["embeddings", "moderations", "bedrock-invoke"])
def test_an_api_that_does_not_answer_in_text_says_so(name: str) -> None:
    with pytest.raises(FormatError, match=f"{name} does not answer in text"):
        formats.by_name(name).text_answer(TEXT, "a-model")


@pytest.mark.parametrize(
    ("base", "path", "model", "expected"),
    [
        ("", "/v1beta/models/gemini-2.5-pro:streamGenerateContent", "gemini-3", "/v1beta/models/gemini-3:str"),
        ("", "/models/gemini-2.5-pro:generateContent", "tunedModels/mine", "/tunedModels/mine:generateContent"),
        (
            "",
            "/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent",
            "gemini-3",
            "/projects/p/locations/l/publishers/google/models/gemini-3:generateContent",
        ),
        (
            "",
            "/projects/p/locations/l/publishers/anthropic/models/claude-a@20250101:streamRawPredict",
            "claude-b@20260101",
            "/projects/p/locations/l/publishers/anthropic/models/claude-b@20260101:streamRawPredict",
        ),
        ("", "/model/arn%3Aaws%3Abedrock%3A%3A1%3Aprofile%2Fx/converse", "new:0", "/model/new%3A0/converse"),
        ("", "/model/anthropic.claude-a/invoke-with-response-stream", "anthropic.b", "/model/anthropic.b/invoke"),
        ("/openai/deployments/four", "/chat/completions", "five", "/openai/deployments/five/chat/completions"),
        ("/v1", "/messages", "claude-b", "/v1/messages"),
        ("/v1", "/responses", "gpt-5", "/v1/responses"),
    ],
)
def test_the_model_in_a_url_is_replaced_where_it_names_one(base: str, path: str, model: str, expected: str) -> None:
    found = formats.match(path) or formats.match(path.removeprefix("/v1beta"))
    assert found
    prefix = "/v1beta" if path.startswith("/v1beta") else ""
    changed = found[0].with_model(base, path.removeprefix(prefix), model)
    whole = f"{changed[0]}{prefix}{changed[1]}"
    assert whole.startswith(expected)
    again = formats.match(changed[1])
    assert again
    assert again[0] is found[0]
