"""Bedrock through its official clients: boto3, and Anthropic's for Claude."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from computer_use_cache.formats.aws_events import CONTENT_TYPE, Message, encode
from computer_use_cache.formats.bedrock_converse import BedrockConverse
from computer_use_cache.formats.bedrock_invoke import BedrockInvoke, BedrockMessages
from computer_use_cache.models import Shape
from support import Asked, Proxy, Send, Upstream, always, chunk, response, running_proxy

MODEL = "arn:aws:bedrock:us-east-1:000000000000:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ACCESS_KEY_ID = "AKIA" + "TEST" * 4
SECRET = "/".join(("test", "secret"))
SESSION_TOKEN = "+".join(("session", "token", "of", "the", "test"))
SESSION = boto3.Session(ACCESS_KEY_ID, SECRET, SESSION_TOKEN, "us-east-1")
QUESTION: list[Any] = [{"role": "user", "content": [{"text": "Look at the screen."}]}]
CLAUDES_QUESTION: Any = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Hello."}]}
CONVERSED = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"text": "I take a picture."},
                {"toolUse": {"toolUseId": "tooluse_1", "name": "screenshot", "input": {"display": 1}}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": {"inputTokens": 1000, "outputTokens": 100, "totalTokens": 1100},
    "metrics": {"latencyMs": 5},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "invoked"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 2},
}


NOVA = "us.amazon.nova-lite-v1:0"
NOVAS_ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "invoked too"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7},
}


def frames(api: BedrockConverse | BedrockMessages | BedrockInvoke, answer: dict[str, Any]) -> list[bytes]:
    return api.join_stream(api.explode(answer, with_usage=True), Shape.AWS)


def streamed(pieces: Sequence[bytes], end: bytes = b"0\r\n\r\n") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {CONTENT_TYPE}\r\nx-amzn-requestid: req_2\r\n".encode()
    return head + b"transfer-encoding: chunked\r\n\r\n" + b"".join(map(chunk, pieces)) + end


async def bedrock(asked: Asked, send: Send) -> None:
    """Answers each of the four operations in its wire format."""
    api: BedrockConverse | BedrockMessages | BedrockInvoke = BedrockMessages()
    answer: dict[str, Any] = MESSAGE
    if "/converse" in asked.path:
        api, answer = BedrockConverse(), CONVERSED
    elif "nova" in asked.path:
        api, answer = BedrockInvoke(), NOVAS_ANSWER
    if asked.path.endswith("-stream"):
        await send(streamed(frames(api, answer)))
    else:
        await send(response(json.dumps(answer).encode(), x_amzn_requestid="req_1"))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    provider = Upstream()
    provider.handler = bedrock
    yield provider
    provider.close()


type Ask = Callable[[Clients], Any]


@dataclass
class Clients:
    """The official clients of one proxy."""

    aws: Any
    claude: anthropic.AnthropicBedrock


@contextlib.contextmanager
def clients(proxy: Proxy) -> Iterator[Clients]:
    url = f"http://127.0.0.1:{proxy.port}"
    aws = SESSION.client("bedrock-runtime", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}))
    claude = anthropic.AnthropicBedrock(
        aws_access_key=ACCESS_KEY_ID,
        aws_secret_key=SECRET,
        aws_session_token=SESSION_TOKEN,
        aws_region="us-east-1",
        base_url=url,
        max_retries=0,
    )
    with contextlib.closing(aws), claude:
        yield Clients(aws, claude)


def converse(by: Clients) -> Any:
    return without(by.aws.converse(modelId=MODEL, messages=QUESTION), "ResponseMetadata")


def converse_stream(by: Clients) -> Any:
    """The answer as boto3's events give it."""
    text, arguments, whole = "", "", {}
    with contextlib.closing(by.aws.converse_stream(modelId=MODEL, messages=QUESTION)["stream"]) as stream:
        for event in stream:
            match event:
                case {"contentBlockDelta": {"delta": {"text": piece}}}:
                    text += piece
                case {"contentBlockDelta": {"delta": {"toolUse": {"input": piece}}}}:
                    arguments += piece
                case {"contentBlockStart": {"start": {"toolUse": call}}}:
                    whole = {"toolUse": call}
                case {"messageStop": ending} | {"metadata": ending}:
                    whole |= ending
    call = whole.pop("toolUse") | {"input": json.loads(arguments)}
    return {"output": {"message": {"role": "assistant", "content": [{"text": text}, {"toolUse": call}]}}} | whole


def invocation() -> dict[str, Any]:
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    return {"modelId": MODEL, "body": json.dumps(body)}


def invoke(by: Clients) -> Any:
    return without(json.loads(by.aws.invoke_model(**invocation())["body"].read()), "usage")


def invoke_stream(by: Clients) -> Any:
    stream = by.aws.invoke_model_with_response_stream(**invocation())["body"]
    payloads = [json.loads(event["chunk"]["bytes"]) for event in stream]
    assert payloads[-1] == {"type": "message_stop"}
    text = "".join(one["delta"]["text"] for one in payloads if one["type"] == "content_block_delta")
    return without(MESSAGE, "usage") | {"content": [{"type": "text", "text": text}]}


def invoke_nova(by: Clients) -> Any:
    body = json.dumps({"messages": QUESTION})
    return json.loads(by.aws.invoke_model(modelId=NOVA, body=body)["body"].read())


def invoke_nova_stream(by: Clients) -> Any:
    stream = by.aws.invoke_model_with_response_stream(modelId=NOVA, body=json.dumps({"messages": QUESTION}))["body"]
    said, ending = "", dict[str, Any]()
    for event in stream:
        match json.loads(event["chunk"]["bytes"]):
            case {"contentBlockDelta": {"delta": {"text": piece}}}:
                said += piece
            case {"messageStop": part} | {"metadata": part}:
                ending |= part
    return {"output": {"message": {"role": "assistant", "content": [{"text": said}]}}} | ending


def claudes_message(by: Clients) -> Any:
    return without(by.claude.messages.create(**CLAUDES_QUESTION).to_dict(), "usage")


def claudes_stream(by: Clients) -> Any:
    with by.claude.messages.stream(**CLAUDES_QUESTION) as stream:
        return without(stream.get_final_message().to_dict(), "usage")


def without(answer: dict[str, Any], member: str) -> dict[str, Any]:
    """An answer without this member and without nulls, which Anthropic's client adds."""
    return {name: value for name, value in answer.items() if value is not None and name != member}


WHOLE = (converse, invoke, claudes_message, invoke_nova)
STREAMED = (converse_stream, invoke_stream, claudes_stream, invoke_nova_stream)
ANSWERS = (CONVERSED, *[without(MESSAGE, "usage")] * 2, NOVAS_ANSWER)


@pytest.mark.parametrize(
    ("first", "second"),
    [pytest.param(WHOLE, STREAMED, id="streams of answers"), pytest.param(STREAMED, WHOLE, id="answers of streams")],
)
def test_both_shapes_are_replayed_and_offline_too(
    tmp_path: Path, upstream: Upstream, first: Sequence[Ask], second: Sequence[Ask]
) -> None:
    with running_proxy(tmp_path, upstream.url) as proxy, clients(proxy) as by:
        for asks in (first, first, second):
            assert tuple(ask(by) for ask in asks) == ANSWERS
        assert (proxy.stats()["misses"], proxy.stats()["hits"]) == (4, 8)
    assert len(upstream.asked) == 4
    with running_proxy(tmp_path, upstream.url, CACHE_MODE="offline") as proxy, clients(proxy) as by:
        for asks in (first, second):
            assert tuple(ask(by) for ask in asks) == ANSWERS
    assert len(upstream.asked) == 4
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert ACCESS_KEY_ID.encode() not in kept
    assert SESSION_TOKEN.encode() not in kept


def test_the_request_id_and_the_bytes_of_a_stream_are_replayed(tmp_path: Path, upstream: Upstream) -> None:
    path, body = f"/model/{MODEL}/converse-stream", {"messages": QUESTION}
    with running_proxy(tmp_path, upstream.url) as proxy:
        answers = [proxy.post(path, body) for _ in range(2)]
    assert [answer.cache for answer in answers] == ["MISS", "HIT"]
    assert answers[0].body == answers[1].body == b"".join(frames(BedrockConverse(), CONVERSED))
    assert answers[1].headers["x-amzn-requestid"] == "req_2"
    assert answers[1].headers["content-type"] == CONTENT_TYPE


def test_offline_a_miss_is_bedrocks_own_error(tmp_path: Path, upstream: Upstream) -> None:
    with running_proxy(tmp_path, upstream.url, CACHE_MODE="offline") as proxy, clients(proxy) as by:
        with pytest.raises(ClientError) as error:
            converse(by)
        with pytest.raises(anthropic.APIStatusError, match="CACHE_MODE"):
            claudes_message(by)
    assert error.value.response["Error"]["Code"] == "ResourceNotFoundException"
    assert "CACHE_MODE" in error.value.response["Error"]["Message"]
    assert upstream.asked == []


EXCEPTION = encode(
    Message(
        {":message-type": "exception", ":exception-type": "throttlingException", ":content-type": "application/json"},
        b'{"message":"Slower."}',
    )
)


def test_a_stream_that_failed_reaches_the_client_and_is_not_stored(tmp_path: Path, upstream: Upstream) -> None:
    good = frames(BedrockConverse(), CONVERSED)
    path, body = f"/model/{MODEL}/converse-stream", {"messages": QUESTION}
    with running_proxy(tmp_path, upstream.url) as proxy, clients(proxy) as by:
        upstream.handler = always(streamed([*good[:2], EXCEPTION]))
        with pytest.raises(EventStreamError, match="Slower"):
            converse_stream(by)
        for cut in (streamed(good[:-2]), streamed([b"".join(good)[:-1]])):
            upstream.handler = always(cut)
            assert proxy.post(path, body).cache == "MISS"
        upstream.handler, upstream.keep_alive = always(streamed(good[:3], end=b"")), False
        with pytest.raises(http.client.IncompleteRead):
            proxy.post(path, body)
        upstream.handler = bedrock
        assert converse_stream(by) == converse(by) == CONVERSED
    assert len(upstream.asked) == 5


def test_a_request_to_aws_that_cannot_be_signed_anew_says_why(tmp_path: Path) -> None:
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    aws = "https://bedrock-runtime.us-east-1.amazonaws.com"
    with running_proxy(tmp_path, aws, **nowhere) as proxy, clients(proxy) as by, pytest.raises(ClientError) as error:
        converse(by)
    assert error.value.response["Error"]["Code"] == "AccessDeniedException"
    assert "AWS_SECRET_ACCESS_KEY" in error.value.response["Error"]["Message"]
