"""Frees mitmproxy's layers. They refer to themselves and to each other in circles, so that those of a connection that
has ended would stay in memory until the garbage collector gets to them. That is minutes later, and holds up everyone.
"""

from __future__ import annotations

from collections.abc import Iterable

from mitmproxy.proxy.layer import Layer


def take_apart(layers: Iterable[Layer]) -> None:
    """Empty layers that will never handle another event."""
    for layer in tuple(layers):
        vars(layer).clear()
