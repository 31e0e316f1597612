"""When must every request be a flow: where one is shown, saved, changed, or seen by another addon."""

from __future__ import annotations

import warnings

import pytest
from mitmproxy import http

from computer_use_cache.proxy.addon import ComputerUseCache
from computer_use_cache.proxy.fast_path.eligibility import needs_flows

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what mitmproxy's own addons import
    from mitmproxy.addons import default_addons
    from mitmproxy.addons.view import View
    from mitmproxy.test import taddons


class OtherAddon:
    """What somebody else's script may be."""

    def response(self, flow: http.HTTPFlow) -> None: ...


class OtherOptions:
    """A script that sees no flow."""

    def running(self) -> None: ...


@pytest.mark.parametrize(
    ("changed", "needed"),
    [
        ({}, False),
        ({"mode": ["reverse:http://127.0.0.1:1"], "listen_port": 1, "connection_strategy": "lazy"}, False),
        ({"termlog_verbosity": "error", "upstream_cert": False}, False),
        ({"flow_detail": 1}, True),
        ({"modify_headers": ["/~q/X-A/b"]}, True),
        ({"modify_body": ["/a/b"]}, True),
        ({"map_remote": ["|//a/|//b/"]}, True),
        ({"map_local": ["|//a/|/tmp"]}, True),
        ({"proxyauth": "any"}, True),
        ({"stickycookie": "~all"}, True),
        ({"block_list": [":~u a:404"]}, True),
        ({"hardump": "x"}, True),
        ({"anticache": True}, True),
    ],
    ids=str,
)
def test_an_option_that_shows_or_changes_flows_needs_them(changed: dict[str, object], needed: bool) -> None:
    with taddons.context(loadcore=False) as context:
        context.master.addons.add(*default_addons(), ComputerUseCache())
        context.options.add_option("flow_detail", int, 1, "as mitmdump's")
        context.options.update_known(flow_detail=0)
        context.options.update_known(**changed)
        assert needs_flows(context.options, context.master.addons) is needed


@pytest.mark.parametrize(
    ("addon", "needed"), [(OtherAddon(), True), (OtherOptions(), False), (View(), True)], ids=["hooks", "none", "view"]
)
def test_another_addon_with_hooks_for_flows_needs_them(addon: object, needed: bool) -> None:
    with taddons.context(loadcore=False) as context:
        context.master.addons.add(addon)
        assert needs_flows(context.options, context.master.addons) is needed
