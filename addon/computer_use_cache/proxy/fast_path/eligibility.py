"""Decides whether the fast path may open: not while anything shows, saves or changes flows, as its hits have none."""

from __future__ import annotations

from mitmproxy.addonmanager import AddonManager, traverse
from mitmproxy.options import Options

_HOOKS = ("requestheaders", "request", "responseheaders", "response", "error")

_HARMLESS = (
    *("cache_", "certs", "ciphers_", "client_certs", "confdir", "connection_", "dns_", "http2", "keep", "listen_"),
    *("mode", "onboarding", "scripts", "server", "ssl_", "tcp_timeout", "termlog_", "tls_", "upstream_cert"),
)
"""Prefixes of options that neither change nor show requests. Any other option might."""


def needs_flows(options: Options, addons: AddonManager) -> bool:
    """True if an interface, another addon, mitmdump's output or an option needs every request to be a flow."""
    has_view = addons.get("view") is not None  # what mitmweb and mitmproxy show
    return (
        has_view
        or any(_changes_flows(options, name) for name, _ in options.items())
        or any(_is_foreign(addon) and any(hasattr(addon, hook) for hook in _HOOKS) for addon in traverse(addons.chain))
    )


def _changes_flows(options: Options, name: str) -> bool:
    value = getattr(options, name)
    if name == "flow_detail":
        return bool(value)  # by default mitmdump prints every flow
    return bool(value != options.default(name)) and not name.startswith(_HARMLESS)


def _is_foreign(addon: object) -> bool:
    return not type(addon).__module__.startswith(("mitmproxy.addons.", "computer_use_cache."))
