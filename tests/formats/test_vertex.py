"""Claude on Vertex AI: the path names the model, and the body is that of Messages without one."""

from __future__ import annotations

import pytest

from computer_use_cache import formats
from computer_use_cache.models import Shape

PLACE = "/projects/p/locations/global/publishers/anthropic/models/"


@pytest.mark.parametrize(
    ("method", "body", "shape"),
    [
        ("rawPredict", {}, Shape.JSON),
        ("rawPredict", {"stream": True}, Shape.SSE),
        ("streamRawPredict", {"stream": True}, Shape.SSE),
        ("streamRawPredict", {"stream": False}, Shape.JSON),
        ("streamRawPredict", {}, Shape.SSE),
    ],
)
@pytest.mark.parametrize("name", ["claude-sonnet-4-5@20250929", "claude-sonnet-4-5%4020250929"])
def test_both_methods_are_messages_with_the_model_of_the_path(
    method: str, body: dict[str, object], shape: Shape, name: str
) -> None:
    path = f"{PLACE}{name}:{method}"
    found = formats.match(path)
    assert found
    format, resource = found
    assert (format.name, resource) == ("messages", f"{PLACE[1:]}claude-sonnet-4-5@20250929")
    assert format.model(body, resource) == "claude-sonnet-4-5@20250929"
    assert format.wanted_shape(body, path, ()) is shape


@pytest.mark.parametrize(
    "path",
    [
        f"{PLACE}count-tokens:rawPredict",
        f"{PLACE}claude-x:predict",
        "/projects/p/locations/l/publishers/mistralai/models/m:rawPredict",
        "/projects/p/locations/l/endpoints/1:rawPredict",
    ],
)
def test_other_calls_of_vertex_are_not_messages(path: str) -> None:
    assert formats.match(path) is None
