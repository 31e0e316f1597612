"""A model call is recognised in a body that passes by, however it is cut; and a body shows which route it is for."""

from __future__ import annotations

import pytest

from computer_use_cache import formats
from computer_use_cache.formats.base import Json
from computer_use_cache.formats.recognition import Scan


@pytest.mark.parametrize(
    ("body", "is_model_call"),
    [
        (b'{"model":"m","messages":[]}', True),
        (b'{"input": "hi",\n "model" : "m"}', True),
        (b'{"modelId":"m","prompt":"hi"}', True),
        (b'{"contents":[],"model":"m"}', True),
        (b'{"model":"m"}', False),
        (b'{"messages":[]}', False),
        (rb'{"messages":["{\"model\":\"m\"}"]}', False),
        (b'{"model":7,"input":1}', False),
        (b"", False),
    ],
)
def test_a_body_with_model_and_prompt_is_a_model_call_wherever_it_is_cut(body: bytes, is_model_call: bool) -> None:
    for cut in range(len(body) + 1):
        scan = Scan()
        scan.feed(body[:cut])
        scan.feed(body[cut:])
        assert scan.is_model_call is is_model_call


@pytest.mark.parametrize(
    ("body", "route"),
    [
        ({"model": "gpt-5", "messages": []}, "/chat/completions"),
        ({"model": "claude-sonnet-4-5", "messages": []}, "/messages"),
        ({"model": "a", "system": "Be kind.", "messages": []}, "/messages"),
        ({"model": "gpt-5", "input": "hi"}, "/responses"),
        ({"model": "text-embedding-3-small", "input": "hi"}, "/embeddings"),
        ({"model": "gpt-3.5-turbo-instruct", "prompt": "hi"}, "/completions"),
        ({"contents": []}, ""),
        ({"model": "gpt-5"}, ""),
        ({}, ""),
    ],
)
def test_the_route_of_a_body_is_guessed_where_the_body_shows_it(body: Json, route: str) -> None:
    assert formats.guessed_route(body) == route
