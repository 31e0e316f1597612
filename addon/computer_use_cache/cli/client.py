"""The proxy that may be running: its address, whether it is one of ours, and asking it over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any
from urllib import error, request

import click

from computer_use_cache.errors import CacheError
from computer_use_cache.formats.base import Json
from computer_use_cache.settings import Settings

_SECONDS = 10.0


def address_options[F: Callable[..., Any]](command: F) -> F:
    """The flags `--host` and `--port` of commands that speak of the proxy's address."""
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


def bind_error(settings: Settings) -> str | None:
    """Why nothing can listen on HOST:PORT, None when it can."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # As servers do: a connection that ended a moment ago does not keep the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as failure:
        return failure.strerror or str(failure)
    return None


def health(url: str, settings: Settings) -> Json | None:
    """What `/healthz` answers at `url`, None when nothing answers or it is not one of ours (or not for this caller)."""
    try:
        status, answer = fetch(url + "/healthz", headers=authorization(settings))
    except CacheError:
        return None
    ours = status == 200 and isinstance(answer, dict) and isinstance(answer.get("cache"), dict)
    # The original tool has this route too, but counts no hit rate.
    return answer if ours and "hit_rate" in answer["cache"] else None


def clear(url: str, wish: Json, settings: Settings) -> int:
    """Have the proxy at `url` clear what `wish` names; how many entries there were. Raises CacheError."""
    headers = {"content-type": "application/json", "x-cache-admin-token": settings.admin_token}
    headers |= authorization(settings)
    status, answer = fetch(url + "/cache/clear", json.dumps(wish).encode(), headers)
    if status != 200 or not isinstance(answer, dict):
        told = answer.get("error", {}).get("message", "") if isinstance(answer, dict) else ""
        raise CacheError(f"the proxy at {url} did not clear its cache ({status}): {told or answer}")
    return int(answer["deleted"])


def authorization(settings: Settings) -> dict[str, str]:
    """The header that a proxy with these settings asks its clients for."""
    return {"authorization": f"Bearer {settings.client_token[0][1]}"} if settings.client_token else {}


def fetch(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    """The status, and the JSON of the answer (None for anything else). Raises CacheError when there is no answer.

    Asks a cache, usually on this machine, so it ignores the HTTP proxies that the environment names.
    """
    opener = request.build_opener(request.ProxyHandler({}))
    try:
        with opener.open(request.Request(url, body, dict(headers or {})), timeout=_SECONDS) as answer:  # noqa: S310
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
