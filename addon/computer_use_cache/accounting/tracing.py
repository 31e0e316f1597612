"""Opens the export to OpenTelemetry, which its own variables (OTEL_*) switch on and configure."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from computer_use_cache.accounting.spans import Spans

logger = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def open_spans(environment: Mapping[str, str]) -> Spans | None:
    """Start sending spans if the environment names an OTLP endpoint and the extra `otel` is installed."""
    is_off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporters = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if is_off or "otlp" not in exporters.split(",") or not any(environment.get(name) for name in _ENDPOINTS):
        return None
    try:
        from computer_use_cache.accounting.spans import Spans  # noqa: PLC0415  # its library is optional
    except ImportError:
        _warn_of_missing_extra()
        return None
    return Spans()


@cache
def _warn_of_missing_extra() -> None:
    """Cached: a change of options opens the cache again, and should not repeat the warning."""
    logger.warning("an OTLP endpoint is set, but no spans are sent: the extra is missing (pip install '.[otel]')")
