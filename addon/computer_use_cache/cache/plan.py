"""What is to be done with one request: its route, its key, the verdict, and the bytes to forward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from computer_use_cache.cache.policy import Controls
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.models import (
    Bypass,
    Request,
    Shape,
)


@dataclass(frozen=True, slots=True)
class Route:
    """What is known of a request to a cached API before its body: which one it is (`resource` is the model, where the
    path names it), what its headers wish, and the beginning of its key. `request` has no body."""

    request: Request
    format: Format
    resource: str
    controls: Controls
    key_beginning: Any


class Plan(msgspec.Struct, frozen=True):
    """What is to be done with one request to a cached API.

    `verdict` is a Bypass, or the Controls of a request that has a `key`. `forward` are the bytes to send upstream.
    `body` is the parsed request without the `credentials` that stand in known places (its tools', its servers'):
    they are forwarded, and nothing else. Neither holds controls of ours. `shape` is the one the client wants.
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
        """The API that is asked."""
        return self.route.format

    @property
    def upstream(self) -> str:
        """The API's base URL."""
        return self.route.request.upstream

    def without_bodies(self) -> Plan:
        """What it takes to look the entry up again."""
        return Plan(
            self.route, self.verdict, self.key, self.model, self.shape, self.with_usage, {}, b"", self.credentials
        )
