"""The plan for one request: its route, key and verdict, and the bytes to forward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack
import msgspec
from msgspec.structs import replace

from computer_use_cache.cache.policy import Controls
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.models import Bypass, Request, Shape
from computer_use_cache.rebinding import Value


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


@dataclass(frozen=True, slots=True)
class Template:
    """The request without its moving values and pictures: its `digest`, those `values`, the digests of those
    `pictures`, and all `text` of the request, which is for the present answer only."""

    digest: str
    values: tuple[Value, ...]
    text: bytes
    pictures: tuple[str, ...] = ()

    @property
    def bindings(self) -> bytes:
        """The values and pictures as an entry keeps them."""
        packed: bytes = msgpack.packb((self.values, self.pictures), unicode_errors="surrogatepass")
        return packed


class Plan(msgspec.Struct, frozen=True):
    """The plan for one request to a cached API.

    `verdict` is a Bypass, or the Controls of a request, which then has a `key`. `forward` is what to send upstream;
    `is_form` if that is a form and not JSON (keys/forms.py). `body` is the parsed request without the `credentials`
    that stand in known places (its tools', its servers'), which are only forwarded. Neither holds our controls. `shape`
    is the one that the client asks for. `blanked` are the values that normalisers took out of its texts before it was
    hashed.

    A plan whose exact entry is not there is prepared (rebound.py): its `body` then has `<secret n>` in the place of the
    `secrets` in its texts, whose `secret_kinds` are part of the key, and it has a `template` if an answer for other
    values may be served. Where samples are ordered, `nth` is the number of times its run has asked for it, and
    `template_nth` for its template.
    """

    route: Route
    verdict: Controls | Bypass
    key: str
    model: str
    shape: Shape
    with_usage: bool
    body: Json
    forward: bytes
    is_form: bool = False
    credentials: tuple[str, ...] = ()
    blanked: tuple[Value, ...] = ()
    is_prepared: bool = False
    secrets: tuple[str, ...] = ()
    secret_kinds: tuple[str, ...] = ()
    template: Template | None = None
    nth: int | None = None
    template_nth: int | None = None

    @property
    def has_own_values(self) -> bool:
        """Whether other requests with its key may hold other values, so that their answers do not fit as they are."""
        return bool(self.secrets or self.blanked)

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
        return replace(self, body={}, forward=b"", template=None)
