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
from computer_use_cache.rebinding import Profile, Value


@dataclass(frozen=True, slots=True)
class Route:
    """What is known about a request to a cached API before its body has arrived.

    `request` has no body. `resource` is the model if the path names it. `key_beginning` is the key's hash so far.
    """

    request: Request
    format: Format
    resource: str
    controls: Controls
    key_beginning: Any


@dataclass(frozen=True, slots=True)
class Template:
    """What rebinding needs to know about a request.

    `digest` is that of the request without its moving values and pictures. `values` and `pictures` (by digest) are what
    was taken out. `text` is all text of the request; it is used for the present answer and never stored. `profile` is
    that of the agent.
    """

    digest: str
    values: tuple[Value, ...]
    text: bytes
    profile: Profile
    pictures: tuple[str, ...] = ()

    @property
    def bindings(self) -> bytes:
        """The values and pictures as an entry keeps them."""
        packed: bytes = msgpack.packb((self.values, self.pictures), unicode_errors="surrogatepass")
        return packed


class Plan(msgspec.Struct, frozen=True):
    """The plan for one request to a cached API.

    `verdict` is either a Bypass or the request's Controls; with Controls, the plan has a `key`. `forward` is the body
    to send upstream. `body` is the parsed body without the `credentials` in known places, such as those of tools and
    servers, which are forwarded only. Neither contains our controls. `shape` is the one that the client asks for.
    `blanked` are the values that normalisers removed from the texts before hashing. `is_whole` says whether a record
    may keep `forward` as it is: not if ids of the client were left out of `body` (`Format.client_ids`), and not if it
    is a form (keys/forms.py).

    If there is no exact entry, the plan is prepared (rebound.py). Its `body` then has `<secret n>` in place of the
    `secrets` in its texts, and their `secret_kinds` are part of the key. It has a `template` if an answer recorded for
    other values may be served. With ordered samples, `nth` counts how often the run has asked for this request, and
    `template_nth` how often for its template.
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
    blanked: tuple[Value, ...] = ()
    is_whole: bool = True
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
