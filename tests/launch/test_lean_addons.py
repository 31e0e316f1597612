"""Events are offered to the addons that have a method for them, as mitmproxy's own manager does."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what mitmproxy's own addons import
    from computer_use_cache.launch.lean_addons import LeanAddons
from mitmproxy.addonmanager import AddonManager
from mitmproxy.command import CommandManager
from mitmproxy.exceptions import AddonHalt
from mitmproxy.options import Options
from mitmproxy.proxy.server_hooks import ClientConnectedHook
from mitmproxy.test import tflow


class Master:
    """What an addon manager needs of mitmproxy's Master."""

    def __init__(self) -> None:
        self.options = Options()
        self.commands = CommandManager(self)  # type: ignore[no-untyped-call, arg-type]


class Addon:
    """Notes its name in `heard` at each event; `failure` is raised, and `addons` are inside it."""

    def __init__(self, name: str, heard: list[str], *addons: Any, failure: Exception | None = None) -> None:
        self.name = name
        self.addons = list(addons)
        self._heard = heard
        self._failure = failure

    async def client_connected(self, client: Any) -> None:
        await asyncio.sleep(0)
        self._heard.append(self.name)
        if self._failure:
            raise self._failure


class Idle:
    """Has no method for the event."""


def _heard(kind: type[AddonManager]) -> list[list[str]]:
    """What is heard of the same event while addons are added, removed and fail."""
    heard, rounds = list[str](), list[list[str]]()

    async def live() -> None:
        manager = kind(Master())  # type: ignore[no-untyped-call]
        inside = Addon("inside", heard)
        outer = Addon("outer", heard, inside)

        async def ask() -> None:
            heard.clear()
            await manager.trigger_event(ClientConnectedHook(tflow.tclient_conn()))
            rounds.append(heard.copy())

        manager.add(Idle(), outer, Addon("last", heard))  # type: ignore[no-untyped-call]
        await ask()
        manager.add(Addon("failing", heard, failure=ValueError("of this addon alone")), Addon("late", heard))  # type: ignore[no-untyped-call]
        await ask()
        outer.addons.append(manager.register(Addon("new", heard)))  # type: ignore[no-untyped-call]
        await ask()
        manager.remove(inside)  # type: ignore[no-untyped-call]
        outer.addons.remove(inside)
        await ask()
        manager.add(Addon("halting", heard, failure=AddonHalt()), Addon("never", heard))  # type: ignore[no-untyped-call]
        await ask()

    asyncio.run(live())
    return rounds


def test_the_same_addons_hear_of_events_in_the_same_order_as_from_mitmproxy() -> None:
    assert _heard(LeanAddons) == _heard(AddonManager)
    assert _heard(LeanAddons)[-1] == ["outer", "new", "last", "failing", "late", "halting"]


def test_a_silenced_addon_hears_of_no_event_any_more() -> None:
    heard = list[str]()

    async def live() -> None:
        manager = LeanAddons(Master())
        manager.add(Addon("silenced", heard), Addon("other", heard))  # type: ignore[no-untyped-call]
        event = ClientConnectedHook(tflow.tclient_conn())
        await manager.trigger_event(event)
        manager.silence(["silenced", "unknown"])
        await manager.trigger_event(event)

    asyncio.run(live())
    assert heard == ["silenced", "other", "other"]
