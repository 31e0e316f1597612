"""The settings as flags of the commands that run a proxy."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from computer_use_cache.cli.misspelt import meant
from computer_use_cache.errors import SettingError
from computer_use_cache.launch import environment
from computer_use_cache.network import Proxies
from computer_use_cache.setting_declaration import Surface
from computer_use_cache.settings import Settings

_SHORT_FLAGS = {"upstream_base_url": "--upstream"}
"""Flags of the original tool that are not named after the variable."""


def setting_flags[F: Callable[..., Any]](*, address: bool) -> Callable[[F], F]:
    """A flag for every setting, and `--set`. HOST, PORT and WORKERS only get theirs with `address`."""

    def decorate(command: F) -> F:
        help = "Any option of mitmproxy or the cache."
        command = click.option("--set", "pairs", multiple=True, metavar="OPTION=VALUE", help=help)(command)
        for item in reversed(list(Settings.declarations())):
            if item.flag and (address or item.surface is not Surface.START):
                flags = filter(None, (_SHORT_FLAGS.get(item.name), item.flag))
                help = f"{item.help}  [{item.variables[0]}]"
                command = click.option(*flags, item.name, metavar="TEXT", help=help)(command)
        return command

    return decorate


def of_run() -> dict[str, str]:
    """The defaults of `run`, by the setting's name: a second run should be answered from the first one's recordings,
    with its own values."""
    return {"rebind": "on", "samples": "ordered", "bind": environment.bindings()}


def shown(flags: Mapping[str, str | None]) -> dict[str, str]:
    """The settings that a command line gives as flags, by name, without any that may hold a credential."""
    declared = {item.name: item for item in Settings.declarations()}
    return {name: text for name, text in flags.items() if text is not None and not declared[name].is_secret(text)}


def given(
    flags: Mapping[str, str | None], pairs: Sequence[str], defaults: Mapping[str, str] | None = None
) -> tuple[Settings, dict[str, str], list[str]]:
    """The settings, with those that the command line gives; their texts by option; and arguments for mitmproxy.

    `defaults` are a command's own, by the setting's name. Raises SettingError, also for the proxies that the
    environment names.
    """
    Proxies.from_environment(os.environ)  # only to have a bad one refused before mitmproxy is loaded
    variables, options, own = dict(os.environ), dict[str, str](), list[str]()
    names = {item.option for item in Settings.declarations()}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if name in names and equals:
            options[name] = text
        elif name.startswith("cache_"):
            hint = meant(name, filter(None, names))
            raise SettingError(f"--set {pair}: " + (f"did you mean {hint}=…?" if hint else "there is no such option"))
        else:
            own += ["--set", pair]
    for item in Settings.declarations():
        text_given = flags.get(item.name)
        if text_given is not None and item.option:
            options[item.option] = text_given
        elif text_given is not None and item.surface is Surface.START:
            variables[item.variables[0]] = text_given
        elif item.option and item.name in (defaults or {}) and item.variable_in(variables) is None:
            options.setdefault(item.option, (defaults or {})[item.name])
    return Settings.load(variables, options), options, own
