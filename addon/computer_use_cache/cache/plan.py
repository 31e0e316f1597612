"""The plan for one request: its route, key and verdict, and the bytes to forward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from computer_use_cache.cache.policy import Controls
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.models import Bypass, Request, Shape


@dataclass(frozen=True, slots=True)
class Route:
    """What is known about a request to a cached API before its body has arrived.

    `request` has no body. `resource` is the model where the path names it, and `key_beginning` the digest so far.
    """

    request: Request
    format: Format
    resource: str
    controls: Controls
    key_beginning: Any


class Plan(msgspec.Struct, frozen=True):
    """The plan for one request to a cached API.

    `verdict` is a Bypass, or the Controls of a request, which then has a `key`. `forward` is what to send upstream.
    `body` is the parsed request without the `credentials` that stand in known places (its tools', its servers'), which
    are only forwarded. Neither holds our controls. `shape` is the one that the client asks for.
    """

    route: Route
    verdict: Controls | Bypass
    key: str
    model: str
    shape: Shape
    with_usage: bool
    body: Json
    forward: bytes
    credentials: tuple[str, ...] = ()

    @property
    def format(self) -> Format:
        """The API that the request is for."""
        return self.route.format

    @property
    def upstream(self) -> str:
        """The API's base URL."""
        return self.route.request.upstream

    def without_bodies(self) -> Plan:
        """Enough of the plan to look its entry up again."""
        return Plan(
            self.route, self.verdict, self.key, self.model, self.shape, self.with_usage, {}, b"", self.credentials
        )
