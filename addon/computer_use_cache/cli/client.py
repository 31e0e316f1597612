"""The proxy that may be running: its address, whether it is one of ours, and asking it over HTTP."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any
from urllib import error, parse, request

import click

from computer_use_cache.errors import CacheError, SettingError
from computer_use_cache.formats.base import Json
from computer_use_cache.runs.finding import UnknownRun
from computer_use_cache.settings import Settings

_SECONDS = 10.0
_CLEARING_SECONDS = 600.0
"""A large store is cleared in many short steps."""


def address_options[F: Callable[..., Any]](command: F) -> F:
    """The flags `--host` and `--port`, for commands that need the proxy's address."""
    command = click.option("--port", help="Where the cache listens.  [PORT=8000]")(command)
    return click.option("--host", help="Where the cache listens.  [HOST=127.0.0.1]")(command)


def environment(host: str | None, port: str | None) -> Mapping[str, str]:
    """This process's environment, with the address that was given by flags."""
    given = {"HOST": host, "PORT": port}
    return {**os.environ, **{name: text for name, text in given.items() if text is not None}}


def address(settings: Settings) -> str:
    """The URL, without a path, at which clients on this machine reach a proxy with these settings."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def check_address(settings: Settings) -> None:
    """Raise SettingError, with what to do, if a server cannot listen on HOST:PORT."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # As servers do: a connection that ended a moment ago does not keep the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as failure:
        url, reason = address(settings), failure.strerror or str(failure)
        match failure.errno:
            case errno.EADDRINUSE:
                if health(url, settings):
                    reason = "a cache is running there already"
                variable, cure = "PORT", "stop what uses it, or give another PORT"
            case errno.EACCES:
                variable, cure = "PORT", "give one above 1023"
            case _:
                variable, cure = "HOST", "give an address of this machine"
        raise SettingError(f"{variable}: cannot listen on {url}: {reason}; {cure}") from None


def health(url: str, settings: Settings) -> Json | None:
    """What `/healthz` answers at `url`; None if nothing answers, or not one of our proxies, or not for this caller."""
    try:
        status, answer = fetch(url + "/healthz", headers=authorization(settings))
    except CacheError:
        return None
    if status != 200 or not isinstance(answer, dict) or not isinstance(cache := answer.get("cache"), dict):
        return None
    # The original tool has this route too, but no hit rate. A store that fails, on a full disk say, gives an error.
    return None if cache.keys().isdisjoint(("hit_rate", "error")) else answer


def clear(url: str, chosen: Json, settings: Settings) -> int:
    """Have the proxy at `url` clear the chosen entries; how many there were. Raises CacheError."""
    status, answer = _post(url + "/cache/clear", chosen, settings, _CLEARING_SECONDS)
    if status != 200 or not isinstance(answer, dict):
        raise CacheError(f"the proxy at {url} did not clear its cache ({status}): {_message(answer)}")
    return int(answer["deleted"])


def clear_run(url: str, run: str, settings: Settings) -> str:
    """Have the proxy at `url` remove a run; its id. Raises UnknownRun and CacheError."""
    status, answer = _post(url + "/cache/clear", {"run": run}, settings, _SECONDS)
    if status == 404:
        raise UnknownRun(_message(answer).removesuffix("."))
    if status != 200 or not isinstance(answer, dict):
        raise CacheError(f"the proxy at {url} did not remove the run ({status}): {_message(answer)}")
    return str(answer["run"])


def reject(url: str, key: str, settings: Settings) -> bool:
    """Have the proxy at `url` remove one entry; False if it has no such entry. Raises CacheError."""
    status, answer = _post(f"{url}/cache/entries/{parse.quote(key, safe='')}/reject", {}, settings, _SECONDS)
    if status not in (200, 404):
        raise CacheError(f"the proxy at {url} did not remove the entry ({status}): {_message(answer)}")
    return status == 200


def _post(url: str, body: Json, settings: Settings, seconds: float) -> tuple[int, Any]:
    headers = {"content-type": "application/json", "x-cache-admin-token": settings.admin_token}
    return fetch(url, json.dumps(body).encode(), headers | authorization(settings), seconds)


def _message(answer: Any) -> str:
    message = answer.get("error", {}).get("message", "") if isinstance(answer, dict) else ""
    return str(message or answer)


def authorization(settings: Settings) -> dict[str, str]:
    """The header that a proxy with these settings asks its clients for."""
    return {"authorization": f"Bearer {settings.client_token[0][1]}"} if settings.client_token else {}


def fetch(
    url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, seconds: float = _SECONDS
) -> tuple[int, Any]:
    """The status, and the JSON of the answer (None for anything else). Raises CacheError when there is no answer.

    Asks a cache, usually on this machine, so it ignores the HTTP proxies that the environment names.
    """
    opener = request.build_opener(request.ProxyHandler({}))
    try:
        with opener.open(request.Request(url, body, dict(headers or {})), timeout=seconds) as answer:  # noqa: S310
            return answer.status, _json(answer.read())
    except error.HTTPError as answer:
        with answer:
            return answer.code, _json(answer.read())
    except (OSError, ValueError, http.client.HTTPException) as failure:
        raise CacheError(f"no answer from {url}: {getattr(failure, 'reason', failure)}") from None


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
