"""Recorded traffic as recordings of model calls: mitmproxy's flow files, HAR files, and flows that mitmproxy loads.

A capture is judged like live traffic, but the guard does not apply: the operator chose the file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mitmproxy import exceptions, flow, http
from mitmproxy.io import FlowReader
from mitmproxy.io.har import request_to_flow
from mitmproxy.proxy.mode_specs import ReverseMode

from computer_use_cache import formats
from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.keys import upstream
from computer_use_cache.models import Query, Request, Response, Skipped
from computer_use_cache.proxy import captured_websockets, flows, responses
from computer_use_cache.proxy.content_coding import body_of
from computer_use_cache.setting_values import BaseUrl
from computer_use_cache.settings import Settings
from computer_use_cache.transfer.recordings import Damaged, Recording

_LONGEST_PREFIX = 12
"""The most digits that a flow's length has in a flow file."""
_NO_CALL = Skipped("not a call of a cached API")


def read_flow_file(path: Path, settings: Settings) -> Iterator[Recording | Skipped | Damaged]:
    """The model calls in a file that mitmproxy wrote. Flows count from 1."""
    with path.open("rb") as file:
        size = path.stat().st_size
        number = 0
        while first := file.read(1):
            number += 1
            where = f"{path}: flow {number}"
            frame = _frame(first, file, size)
            if frame is None:
                yield Damaged(where, "the file is truncated, or not a flow file, from here on")
                return
            try:
                outcomes = recordings_of(next(iter(FlowReader(io.BytesIO(frame)).stream())), settings)
            except Exception as error:  # a damaged flow may raise anything
                yield Damaged(where, _message(error))
            else:
                yield from outcomes


def _frame(first: bytes, file: BinaryIO, size: int) -> bytes | None:
    """The bytes of one flow in the file, from its `first` byte on: its length, a colon, its data, and a type byte."""
    digits, more = first, file.read(1)
    while more.isdigit() and len(digits) < _LONGEST_PREFIX:
        digits, more = digits + more, file.read(1)
    if not digits.isdigit() or more != b":" or int(digits) >= size - file.tell():
        return None
    return digits + more + file.read(int(digits) + 1)


def read_har(path: Path, settings: Settings) -> Iterator[Recording | Skipped | Damaged]:
    """The model calls in an HTTP archive, as browsers' developer tools save them. Entries count from 1.

    Raises FormatError if the file is not one.
    """
    try:
        entries = list(json.loads(path.read_text(encoding="utf-8-sig"))["log"]["entries"])
    except (ValueError, LookupError, TypeError, RecursionError):
        raise FormatError(f"{path} is not a HAR file: a JSON object with log.entries") from None
    for number, entry in enumerate(entries, 1):
        try:
            found = request_to_flow(_as_utf8(entry))
            found.websocket = captured_websockets.of_har(entry)
            outcomes = recordings_of(found, settings, ended=True)
        except Exception as error:  # a damaged entry may raise anything
            yield Damaged(f"{path}: entry {number}", _message(error))
        else:
            yield from outcomes


def _as_utf8(entry: Any) -> Any:
    """A HAR entry whose texts will be read as UTF-8: mitmproxy would assume Latin-1 where no charset is given."""
    posted = entry["request"].get("postData", {})
    if isinstance(posted.get("text"), str):
        posted["text"] = posted["text"].encode("utf-8", "surrogatepass")
    entry["response"]["content"].setdefault("encoding", "utf-8")
    return entry


def _message(error: Exception) -> str:
    if isinstance(error, exceptions.FlowReadException):
        return str(error)
    return f"{type(error).__name__} {error}"


def recordings_of(found: flow.Flow, settings: Settings, *, ended: bool = False) -> list[Recording | Skipped]:
    """The model calls in a flow that are complete and that an upstream answered: one, but several on a websocket.

    `ended` is True for a HAR file, which lists what has ended, often without the headers that would show it.
    """
    if not isinstance(found, http.HTTPFlow) or (found.request.method != "POST" and not found.websocket):
        return [_NO_CALL]
    path, query = flows.path_and_query(found)
    try:
        base, below = upstream.split(_origin(found), path, settings.upstream_base_url)
    except ValueError:
        return [Skipped("it is not clear which host was asked")]
    matched = formats.match(below)
    if matched is None or (found.websocket and not matched[0].has_websocket):
        return [_NO_CALL]
    if found.websocket and found.response and "x-computer-use-cache" in found.response.headers:
        return [Skipped("answered by a cache")]
    if found.websocket:
        messages = found.websocket.messages
        return list(captured_websockets.recordings_of(found.request, messages, base, below, upstream.query_of(query)))
    return [_recording_of(found, base, below, upstream.query_of(query), ended=ended)]


def _recording_of(found: http.HTTPFlow, base: str, below: str, query: Query, *, ended: bool) -> Recording | Skipped:
    request, response = found.request, found.response
    if response is None or found.error:
        return Skipped("not answered, or broken off")
    if response.headers.get("x-computer-use-cache") in ("HIT", "STALE"):
        return Skipped("answered by a cache")
    if request.raw_content is None or response.raw_content is None:
        return Skipped("recorded without its bodies")
    try:
        asked = Request(base, below, query, flows.lower_headers(request.headers), body_of(request))
        body = response.get_content(strict=True)
    except (RequestError, ValueError, TypeError) as error:  # TypeError: a coding that mitmproxy misunderstands
        return Skipped(str(error))
    started, at = request.timestamp_start, response.timestamp_end or response.timestamp_start
    headers = flows.lower_headers(response.headers)
    if headers.pop("content-encoding", "identity").strip().lower() != "identity":
        headers.pop("content-length", None)  # it counts the body as it was encoded
    took, is_whole = max(at - started, 0.0), ended or responses.marks_end(response)
    answer = Response(response.status_code, headers, body or b"", took, ended=is_whole)
    return Recording(asked, answer, at)


def _origin(found: http.HTTPFlow) -> str:
    """Where a captured request went. Raises ValueError if that is not clear.

    The URL alone does not tell, because a reverse mode that loads a flow puts its own target there. The Host header
    proves nothing.
    """
    connection, named, request = found.server_conn, found.request.pretty_host.lower(), found.request
    address = connection.address
    if named == (found.client_conn.sni or "").lower():
        scheme, host, port = "https", named, address[1] if address else request.port
    elif address and (isinstance(found.client_conn.proxy_mode, ReverseMode) or named == address[0].lower()):
        scheme, host, port = "https" if connection.tls else "http", address[0], address[1]
    elif named == request.host.lower():
        # Browsers write a websocket's own scheme, and mitmproxy does not know its port.
        scheme = {"wss": "https", "ws": "http"}.get(request.scheme, request.scheme)
        host, port = request.host, 443 if request.scheme == "wss" and request.port == 80 else request.port
    else:
        raise ValueError(named)
    return BaseUrl.parse(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}").origin
