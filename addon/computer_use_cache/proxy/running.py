"""The exchange of a flow that has not ended."""

from __future__ import annotations

import time
from dataclasses import dataclass

from mitmproxy import http

from computer_use_cache.exchange.exchange import Exchange
from computer_use_cache.models import Response
from computer_use_cache.proxy import flows


@dataclass(slots=True)
class Running:
    """An exchange, and what only its flow knows. `started` is monotonic time."""

    exchange: Exchange
    client_id: str
    started: float
    marks_end: bool = False
    """Whether the upstream's answer marks its end, so that a cut would show."""

    def response(self, response: http.Response) -> Response:
        """The upstream's answer as the core sees it."""
        recorder = self.exchange.recorder
        return Response(
            response.status_code,
            flows.lower_headers(response.headers),
            response.raw_content or b"",
            time.monotonic() - self.started,
            recorder.pace if recorder else (),
        )
