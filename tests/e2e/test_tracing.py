"""Spans as a receiver of OpenTelemetry's protocol gets them from a running proxy."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from support import FAKE_KEY, Proxy, Upstream, always, completion, response, running_proxy
from test_docs import REFERENCE, code, rows

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed (scripts/setup dev)"
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=opaque"}
SYSTEM = {"role": "system", "content": "You answer in one word, whatever you are asked."}


class Receiver:
    """A receiver of spans on a loopback port."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self._arrivals = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/traces"
                with receiver._arrivals:
                    receiver.bodies.append(body)
                    receiver._arrivals.notify_all()
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        scopes = [
            scope for request in requests for resource in request.resource_spans for scope in resource.scope_spans
        ]
        return sorted((span for scope in scopes for span in scope.spans), key=lambda span: span.start_time_unix_nano)

    def wait_for(self, number: int) -> list[Span]:
        """The spans, once at least this number of them has arrived."""
        with self._arrivals:
            assert self._arrivals.wait_for(lambda: len(self.spans()) >= number, 30), f"{len(self.spans())} spans"
        return self.spans()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


def attributes(span: Span) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in span.attributes}


def question(text: str) -> dict[str, Any]:
    return {"messages": [SYSTEM, {"role": "user", "content": text}], "model": "gpt-4.1"}


def ask_everything(proxy: Proxy, upstream: Upstream) -> None:
    """Seven calls, one in a trace that is not sampled."""
    proxy.chat(**question("one question"), headers=CONTEXT | {"X-Cache-Run": "nightly"})
    again = CONTEXT | {"traceparent": f"00-{TRACE}-{'c' * 16}-01", "X-Cache-Run": "nightly"}
    assert proxy.chat(**question("one question"), headers=again).cache == "HIT"
    proxy.chat(**question("one other question"))
    proxy.chat(**question("one question"), headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert upstream.asked[0].headers.items() >= CONTEXT.items(), "forwarded as it was"
    upstream.handler = always(response(json.dumps(completion("At 2026-11-26T10:00:00Z.")).encode()))
    for second in range(2):
        proxy.chat(f"It is 2026-11-26T10:00:0{second}Z.", {"x-cache-rebind": "on"})
    upstream.handler = always(response(b'{"error": {"message": "overloaded"}}', 503))
    proxy.chat("a third one", {"X-Cache-Run": "nightly"})


def test_every_call_is_a_span_in_the_conventions_words(tmp_path: Path, upstream: Upstream, receiver: Receiver) -> None:
    address = f"http://127.0.0.1:{receiver.server.server_port}"
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_SERVICE_NAME": "mine"}
    with running_proxy(tmp_path, upstream.url, **variables) as proxy:
        ask_everything(proxy, upstream)
        miss, hit, near, *_, failed = spans = receiver.wait_for(6)
    assert [span.name for span in spans[:3]] == ["chat gpt-4.1"] * 3
    assert {span.kind for span in spans} == {Span.SPAN_KIND_CLIENT}
    known = attributes(miss)
    assert (
        known.items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4.1",
            "gen_ai.usage.input_tokens": 5,
            "gen_ai.usage.output_tokens": 2,
            "server.address": "127.0.0.1",
            "server.port": upstream.port,
            "computer_use_cache.outcome": "MISS",
            "computer_use_cache.step": 1,
        }.items()
    )
    assert known["computer_use_cache.spent_usd"] > 0
    assert miss.end_time_unix_nano >= miss.start_time_unix_nano

    assert attributes(hit)["computer_use_cache.outcome"] == "HIT"
    assert attributes(hit)["computer_use_cache.saved_usd"] == known["computer_use_cache.spent_usd"]
    assert attributes(near)["computer_use_cache.near.key"] == known["computer_use_cache.key"]
    assert [attributes(span)["computer_use_cache.step"] for span in (miss, hit, failed)] == [1, 2, 3]
    assert len({attributes(span)["computer_use_cache.run"] for span in (miss, hit, failed)}) == 1
    assert attributes(failed)["error.type"] == "503"
    assert [span.status.code for span in (miss, failed)] == [Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR]

    assert [span.parent_span_id.hex() for span in (miss, hit, near)] == [PARENT, "c" * 16, ""]
    assert [span.trace_id.hex() == TRACE for span in (miss, hit, near)] == [True, True, False]
    assert miss.trace_state == "vendor=opaque"

    seen = {name for span in spans for name in attributes(span) if name.startswith("computer_use_cache.")}
    assert seen == {name for cell, _ in rows(REFERENCE, "OpenTelemetry") for name in code(cell)}
    everything = b"".join(receiver.bodies)
    assert b"mine" in everything
    assert not re.search(f"{FAKE_KEY}|question|2026-11-26|pong|overloaded|one word".encode(), everything)
