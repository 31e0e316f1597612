"""Responses that this proxy makes or changes: refusals, upstream failures, and answers that bypass the cache."""

from __future__ import annotations

import logging

from mitmproxy import http

from computer_use_cache import formats
from computer_use_cache.cache.lookup import OFFLINE_MISS
from computer_use_cache.errors import RequestError
from computer_use_cache.exchange.result import Result
from computer_use_cache.formats.base import Format, Json, dump
from computer_use_cache.keys import upstream
from computer_use_cache.proxy import cache_headers
from computer_use_cache.proxy.flows import answer, is_addressed_to_proxy, path_and_query
from computer_use_cache.settings import Settings

logger = logging.getLogger(__name__)

_LARGE = 1024 * 1024

_SHORTEST_KEY = 16
"""No provider's key is shorter. `ollama` or `EMPTY`, set where no key is needed, occur in answers as words."""


def without_key(body: bytes, settings: Settings) -> bytes:
    """The body with the operator's key masked: an upstream may quote it in an error, and no client may see it."""
    key = settings.upstream_api_key.encode()
    return body.replace(key, b"*" * len(key)) if len(key) >= _SHORTEST_KEY else body


def may_quote_key(flow: http.HTTPFlow, response: http.Response, settings: Settings) -> bool:
    """Whether an answer is an error that may quote the operator's key. Such an answer is not streamed, so that the key
    is masked wherever it is."""
    is_sent = is_addressed_to_proxy(flow) and len(settings.upstream_api_key) >= _SHORTEST_KEY
    return is_sent and response.status_code >= 400


def mask_key(flow: http.HTTPFlow, response: http.Response, settings: Settings) -> None:
    """Mask the operator's key in a complete answer."""
    if response.raw_content and may_quote_key(flow, response, settings):
        try:
            response.decode()
        except (ValueError, TypeError):
            _withhold_body(flow, response, settings)
    if response.raw_content:
        response.raw_content = without_key(response.raw_content, settings)


def _withhold_body(flow: http.HTTPFlow, response: http.Response, settings: Settings) -> None:
    """Replace the body of an error that does not decode: the key may be in it. The status and the other headers say
    what a client needs for its retries."""
    coding = response.headers.pop("content-encoding")
    logger.warning("an upstream's error does not decode as %r; its body is withheld", coding)
    message = (
        f"The upstream's error does not decode as {coding!r}. It is withheld because it may quote the proxy's key."
    )
    error = RequestError(response.status_code, message)
    instead = json_response(error.status, _error_format(flow, settings).error(error))
    response.headers["content-type"] = instead.headers["content-type"]
    response.content = instead.content


def refuse(flow: http.HTTPFlow, error: RequestError, settings: Settings) -> None:
    """Answer with an error in the form of the API that was asked, or of OpenAI's if the request is for none."""
    format = _error_format(flow, settings)
    if error.code == OFFLINE_MISS and error.status != 504:
        error = RequestError(format.offline_status, error.message, code=error.code)
    response = json_response(error.status, format.error(error))
    response.headers.update(format.error_headers(error))
    if error.code == OFFLINE_MISS:
        logger.info("offline miss: %s %s: %s", flow.request.method, path_and_query(flow)[0], error.message)
        response.headers["x-should-retry"] = "false"  # otherwise the SDKs wait and retry
    answer(flow, response)


def _error_format(flow: http.HTTPFlow, settings: Settings) -> Format:
    """The API whose errors the client reads."""
    path, _ = path_and_query(flow)
    below = upstream.split("", upstream.resolve(settings.upstream_base_url, path), settings.upstream_base_url)[1]
    return formats.of_client(path, below, {name.lower() for name in flow.request.headers})


def upstream_error(flow: http.HTTPFlow, status: int, why: str) -> RequestError:
    """The error for a client whose upstream failed: 502, or 504 if it took too long."""
    what = "did not answer in time" if status == 504 else "could not be reached or broke off"
    message = f"The upstream {flow.request.pretty_host} {what}: {why}. Check UPSTREAM_BASE_URL and the network."
    return RequestError(status, message, code="upstream_timeout" if status == 504 else "upstream_request_failed")


def pass_through(flow: http.HTTPFlow, response: http.Response, result: Result, settings: Settings) -> None:
    """Let an answer bypass the cache. A large one, or one of unknown length, is streamed."""
    cache_headers.tell(flow, response, result, settings)
    length = response.headers.get("content-length", "")
    if not response.stream and not (length.isdigit() and int(length) <= _LARGE):
        response.stream = True
        if response.status_code >= 200 and response.status_code not in (204, 304):
            delimit(flow.request, response)


def marks_end(response: http.Response) -> bool:
    """Whether an upstream's answer marks where its body ends. One that ends where the connection closes may have been
    cut without a trace."""
    version = response.http_version.upper().removeprefix("HTTP/")
    if version.startswith(("2", "3", "H2", "H3")):
        return True
    return "content-length" in response.headers or "chunked" in response.headers.get("transfer-encoding", "").lower()


def json_response(status: int, payload: Json) -> http.Response:
    """A JSON response made by this proxy."""
    return http.Response.make(status, dump(payload), {"content-type": "application/json; charset=utf-8"})


def delimit(request: http.Request, response: http.Response) -> None:
    """Send a stream of unknown length to an HTTP/1.1 client in chunks, so that a cut one never looks complete."""
    if request.is_http11 and "content-length" not in response.headers:
        response.headers["transfer-encoding"] = "chunked"
