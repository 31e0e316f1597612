"""When spans are sent, and when they cannot be."""

from __future__ import annotations

import logging
import sys

import pytest

from computer_use_cache.accounting import tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        ENDPOINT | {"OTEL_SDK_DISABLED": "true"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": "console,zipkin"},
    ],
    ids=str,
)
def test_without_a_receiver_there_are_no_spans(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "computer_use_cache.accounting.spans", None)  # it cannot be imported
    assert tracing.open_spans(environment) is None
    assert caplog.messages == [], "nothing was to be imported"


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_a_receiver_without_the_extra_is_one_warning(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracing._warn_of_missing_extra.cache_clear()
    monkeypatch.delitem(sys.modules, "computer_use_cache.accounting.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with caplog.at_level(logging.WARNING):
        assert [tracing.open_spans({name: "http://127.0.0.1:9"}) for _ in range(2)] == [None, None]
    [warning] = caplog.messages
    assert "pip install '.[otel]'" in warning
