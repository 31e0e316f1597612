"""A span for each call, in OpenTelemetry's conventions for generative AI, sent by its SDK.

A span has no text of a request or answer, and no credential. Conventions:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from computer_use_cache import formats
from computer_use_cache.formats.base import Format
from computer_use_cache.models import Outcome, Request, Skip
from computer_use_cache.run_models import Call

_OWN = "computer_use_cache."
_PORTS = {"https": 443, "http": 80}
_NOT_PAID = (Outcome.HIT, Outcome.STALE, Outcome.COALESCED)
_PROVIDERS = {
    "api.openai.com": "openai",
    "*.openai.azure.com": "azure.ai.openai",
    "*.azure.com": "azure.ai.inference",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "*aiplatform*.googleapis.com": "gcp.vertex_ai",
    "bedrock-runtime*.amazonaws.com": "aws.bedrock",
    "api.cohere.*": "cohere",
    "api.mistral.ai": "mistral_ai",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.perplexity.ai": "perplexity",
    "*api.x.ai": "x_ai",
    "*.ml.cloud.ibm.com": "ibm.watsonx.ai",
    "api.moonshot.*": "moonshot_ai",
}
"""The conventions' names of providers, by shell pattern of their hosts; the first one that matches counts."""
_MAKERS = {"google": "gcp.gemini", "aws": "aws.bedrock"}
"""Their names of those whose API another host speaks, where genai-prices calls them differently."""
_FAILURES: Mapping[str, str] = {Skip.UPSTREAM: "upstream_failed", Skip.CLIENT: "client_left"}
_SECONDS_TO_END = 2.0


class Spans:
    """How and where spans are sent is read by the SDK from OTEL_* variables."""

    def __init__(self) -> None:
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("computer_use_cache")
        self._contexts = TraceContextTextMapPropagator()

    def add(self, call: Call, request: Request, run: str, step: int | None) -> None:
        """Queue the span of a call that is recorded as this step of this run, None if the run keeps no more.

        If the request carries a trace context, the span belongs to that trace, and follows its decision whether to
        sample.
        """
        format = formats.by_name(call.format)
        span = self._tracer.start_span(
            f"{format.operation} {call.model}".rstrip(),
            context=self._contexts.extract(request.headers),
            kind=SpanKind.CLIENT,
            attributes=_standard(call, format, request.upstream) | _own(call, run, step),
            start_time=_nanoseconds(call.at),
        )
        if error := _error(call):
            span.set_attribute("error.type", error)
            span.set_status(StatusCode.ERROR)
        span.end(_nanoseconds(call.at + call.seconds))

    def close(self) -> None:
        """Send what is queued. A receiver that does not answer delays the end by two seconds at most."""
        ending = threading.Thread(target=self._provider.shutdown, name="cache-spans", daemon=True)
        ending.start()
        ending.join(_SECONDS_TO_END)


def _standard(call: Call, format: Format, upstream: str) -> dict[str, str | int | float]:
    url = urlsplit(upstream)
    host = url.hostname or ""
    provider = _provider(format, host)
    return {
        "gen_ai.operation.name": format.operation,
        "gen_ai.provider.name": provider,
        "gen_ai.system": provider,  # the same in older versions of the conventions
        "gen_ai.request.model": call.model,
        "gen_ai.usage.input_tokens": call.cost.input_tokens,
        "gen_ai.usage.output_tokens": call.cost.output_tokens,
        "server.address": host,
        "server.port": url.port or _PORTS.get(url.scheme, 443),
    }


def _own(call: Call, run: str, step: int | None) -> dict[str, str | int | float]:
    """What the conventions have no words for."""
    usd = "saved_usd" if call.outcome in _NOT_PAID else "spent_usd"
    own = {
        "outcome": str(call.outcome),
        "key": call.key or None,
        "run": run,
        "step": step,
        usd: call.cost.usd,
        "rebound": call.rebound or None,
        "near.key": call.near_key or None,
        "near.place": call.near_place or None,
    }
    return {_OWN + name: value for name, value in own.items() if value is not None}


def _error(call: Call) -> str:
    """Why the client got no answer from a model, "" if it got one."""
    if call.reason in _FAILURES:
        return _FAILURES[call.reason]
    return str(call.status) if call.status >= 400 and call.outcome is not Outcome.STALE else ""


def _provider(format: Format, host: str) -> str:
    """The provider behind a host; for a gateway or a server of one's own, the maker of the API that it speaks."""
    for pattern, name in _PROVIDERS.items():
        if fnmatch.fnmatchcase(host, pattern):
            return name
    maker = format.usage_flavor.provider
    return _MAKERS.get(maker, maker)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
