"""What the APIs of Amazon Bedrock's runtime have in common: the model in the path, the stream's frames, the errors.

Rules: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote, unquote

from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import aws_events
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.models import Event, Query, Shape, Skip

_ERROR_TYPES = {
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    504: "ModelTimeoutException",
}

_OPERATION = re.compile(r"^/model/.+/[a-z-]+$")
"""Any operation on a model, including those that are not cached (`async-invoke`)."""


class Bedrock(Format):
    """One pair of operations on a model: `POST /model/{id}/{operation}`. The id may be an ARN, encoded or not."""

    routes: ClassVar[tuple[str, ...]] = ()
    operations: ClassVar[tuple[str, str]]
    """The operation that answers in JSON, and the one that streams."""
    credential_header = "authorization"
    key_headers: ClassVar[tuple[str, ...]] = (
        *("x-amzn-bedrock-guardrailidentifier", "x-amzn-bedrock-guardrailversion", "x-amzn-bedrock-trace"),
    )
    kept_headers: ClassVar[Collection[str]] = (
        *("content-type", "x-amzn-requestid"),
        *("x-amzn-bedrock-content-type", "x-amzn-bedrock-invocation-latency"),
        *("x-amzn-bedrock-input-token-count", "x-amzn-bedrock-output-token-count"),
    )

    def match(self, path: str) -> str | None:
        return model_of(path, self.operations)

    def speaks(self, path: str, below: str, headers: Collection[str]) -> bool:
        return _OPERATION.search(below) is not None

    def model(self, body: Json, resource: str) -> str:
        """The id, without the part before it in an ARN."""
        return resource.rpartition("/")[2] if resource.startswith("arn:") else resource

    def with_model(self, upstream: str, path: str, model: str) -> tuple[str, str]:
        return upstream, f"/model/{quote(model, safe='')}/{path.rpartition('/')[2]}"

    def wanted_shape(self, body: Json, path: str, query: Query) -> Shape:
        return Shape.AWS if path.endswith(f"/{self.operations[1]}") else Shape.JSON

    def split_stream(self, body: bytes, shape: Shape) -> list[Event]:
        """The events of a recorded stream; raises FormatError for an exception among them."""
        events = []
        for headers, payload in aws_events.parse(body):
            kind = headers.get(":message-type", "event")
            if kind != "event":
                name = headers.get(":exception-type") or headers.get(":error-code") or kind
                raise FormatError(f"there is an error in the stream: {name}", Skip.ERROR)
            events.append(Event(headers.get(":event-type", ""), payload))
        return events

    def join_stream(self, events: Sequence[Event], shape: Shape) -> list[bytes]:
        return [aws_events.encode(aws_events.Message(_headers(event.name), event.data)) for event in events]

    def error(self, error: RequestError) -> Json:
        return {"message": error.message}

    def error_headers(self, error: RequestError) -> Mapping[str, str]:
        other = "ServiceUnavailableException" if error.status >= 500 else "ValidationException"
        return {"x-amzn-errortype": _ERROR_TYPES.get(error.status, other)}


def model_of(path: str, operations: Collection[str]) -> str | None:
    """The id in the path of one of these operations, None for any other path."""
    model, _, operation = unquote(path).rpartition("/")
    is_own = operation in operations and model.startswith("/model/")
    return (model.removeprefix("/model/") or None) if is_own else None


def _headers(event_type: str) -> Mapping[str, str]:
    return {":event-type": event_type, ":content-type": "application/json", ":message-type": "event"}
