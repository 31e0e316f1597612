"""mitmproxy's addons, with the receivers of each event looked up once.

mitmproxy offers every event to every addon and to the addons inside it, and most have no method for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from mitmproxy.addonmanager import AddonManager, safecall
from mitmproxy.exceptions import AddonHalt
from mitmproxy.hooks import Hook
from mitmproxy.master import Master


class LeanAddons(AddonManager):
    """Takes the place of mitmproxy's own manager in `start` and `run`."""

    def __init__(self, master: Master) -> None:
        super().__init__(master)  # type: ignore[no-untyped-call]
        self._methods: dict[str, list[list[Callable[..., Any]]]] = {}
        """For each event that has occurred, the methods of each addon in the chain that has any."""

    def register(self, addon: Any) -> Any:
        self._methods.clear()
        return super().register(addon)  # type: ignore[no-untyped-call]

    def remove(self, addon: Any) -> None:
        super().remove(addon)  # type: ignore[no-untyped-call]
        self._methods.clear()

    def silence(self, names: Iterable[str]) -> None:
        """Let these addons get no more events. They keep their names and commands."""
        silenced = [self.lookup.get(name) for name in names]
        self.chain = [addon for addon in self.chain if addon not in silenced]
        self._methods.clear()

    async def trigger_event(self, event: Hook) -> None:
        methods, arguments = self._methods_for(event), event.args()
        for of_addon in methods:
            try:
                with safecall():
                    for method in of_addon:
                        result = method(*arguments)
                        if inspect.isawaitable(result):
                            await result
            except AddonHalt:
                return

    def _methods_for(self, event: Hook) -> list[list[Callable[..., Any]]]:
        if (found := self._methods.get(event.name)) is None:
            of_addons = ([method for _, method in self._iter_hooks(addon, event)] for addon in self.chain)
            found = self._methods[event.name] = [methods for methods in of_addons if methods]
        return found
