"""Modes in which programs do not know the proxy: the kernel, a VPN or eBPF redirects their connections to it.

Each is tried in network namespaces, where the machine allows them, so that no other program is touched.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import Answer, Proxy, Upstream, chat_request, running_proxy
from tls import certificate

CLIENT = "192.0.2.9"
"""Transparent mode is for what comes from this address; the proxy's own connections come from another one."""
PROVIDER = "198.51.100.1"
"""In the other modes, the provider's address, and the one at which its namespace is reached."""
SITE = "192.0.2.2"
CGROUPS = """
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 none /sys/fs/cgroup
exec "$@"
"""
"""mitmproxy's redirector looks for version 2 there, where older systems have version 1."""


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(command)}: {done.stderr.strip()}")


def need(*programs: str) -> None:
    if missing := [program for program in programs if not shutil.which(program)]:
        pytest.skip(f"{' and '.join(missing)} is not installed")


@contextlib.contextmanager
def namespace(suffix: str) -> Iterator[str]:
    """A new network namespace; its name."""
    need("ip")
    name = f"cache-test-{os.getpid()}-{suffix}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        subprocess.run(("ip", "netns", "delete", name), check=True)


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """This thread, and every thread and process that it starts, is in the namespace meanwhile."""
    with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{name}") as within:
        os.setns(within.fileno(), os.CLONE_NEWNET)
        try:
            yield
        finally:
            os.setns(before.fileno(), os.CLONE_NEWNET)


@pytest.fixture
def linked() -> Iterator[tuple[str, str]]:
    """The namespaces of clients and of the provider, which have a cable between them."""
    with namespace("clients") as clients, namespace("site") as site:
        run(*f"ip link add cable netns {clients} type veth peer name cable netns {site}".split())
        for name, address in ((clients, "192.0.2.1/24"), (site, f"{SITE}/24"), (site, f"{PROVIDER}/32")):
            run("ip", "-n", name, "address", "add", address, "dev", "cable")
            run("ip", "-n", name, "link", "set", "cable", "up")
        yield clients, site


@contextlib.contextmanager
def running(folder: Path, provider: Upstream, mode: str, **more: Any) -> Iterator[Proxy]:
    """A proxy that caches the provider by the name of localhost. It needs a `wrapper`, because a new process is in this
    thread's namespace and a forked one is not."""
    arguments = ("--mode", mode, "--set", f"ssl_verify_upstream_trusted_ca={folder}/server.pem")
    upstream = f"https://localhost:{provider.port}/v1"
    with running_proxy(folder, upstream, *arguments, CACHE_HOSTS="localhost", **{"wrapper": ("env",)} | more) as proxy:
        yield proxy


def check_what_is_cached(connect: Callable[[], socket.socket], folder: Path, provider: Upstream) -> None:
    """Calls of clients that `connect` to the provider are cached by the name that they ask for, others tunnelled."""
    known = ssl.create_default_context(cafile=folder / "mitmproxy" / "mitmproxy-ca-cert.pem")
    outcomes = []
    for _ in range(2):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = known.wrap_socket(connect(), server_hostname="localhost")
        with contextlib.closing(connection):
            connection.request("POST", "/v1/chat/completions", json.dumps(chat_request()))
            answer = connection.getresponse()
            outcomes.append(Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()))
    assert [(answer.status, answer.cache) for answer in outcomes] == [(200, "MISS"), (200, "HIT")]
    assert len(provider.asked) == 1

    # It trusts the provider's own certificate and no other, whatever the name in it.
    own = ssl.create_default_context(cafile=folder / "server.pem")
    own.check_hostname = False
    with own.wrap_socket(connect(), server_hostname="other.example"):
        pass


def test_transparent_mode(tmp_path: Path) -> None:
    need("iptables")
    with namespace("only") as name, inside(name):
        run("ip", "address", "add", f"{CLIENT}/32", "dev", "lo")
        provider = Upstream(tls=certificate(tmp_path))
        with running(tmp_path, provider, "transparent@127.0.0.1:0", listen="@127.0.0.2:0") as proxy:
            redirected = f"iptables -t nat -A OUTPUT -s {CLIENT} -p tcp --dport {provider.port} -j REDIRECT"
            run(*redirected.split(), "--to-ports", str(proxy.port))
            check_what_is_cached(
                lambda: socket.create_connection(("127.0.0.1", provider.port), 30, (CLIENT, 0)), tmp_path, provider
            )
        provider.close()


@contextlib.contextmanager
def wireguard(configuration: str, folder: Path) -> Iterator[None]:
    """The device of a client with this configuration: the kernel's, or wireguard-go's."""
    need("wg")
    if subprocess.run(("ip", "link", "add", "wg0", "type", "wireguard"), capture_output=True, check=False).returncode:
        need("wireguard-go")
        run("wireguard-go", "wg0")  # returns when the device is there, and serves it until it is deleted
    try:
        # What `wg-quick` would make of it, without the name server.
        address = re.search(r"^Address = (.+)", configuration, re.MULTILINE)
        assert address
        (folder / "wg.conf").write_text(re.sub(r"^(Address|DNS) = .+\n", "", configuration, flags=re.MULTILINE))
        run("wg", "setconf", "wg0", str(folder / "wg.conf"))
        run("ip", "address", "add", address[1], "dev", "wg0")
        run("ip", "link", "set", "wg0", "up")
        run("ip", "route", "add", f"{PROVIDER}/32", "dev", "wg0")
        yield
    finally:
        subprocess.run(("ip", "link", "delete", "wg0"), check=True)


def test_wireguard_mode(tmp_path: Path, linked: tuple[str, str]) -> None:
    clients, site = linked
    with contextlib.ExitStack() as in_site:
        in_site.enter_context(inside(site))
        provider = Upstream(tls=certificate(tmp_path), host=PROVIDER)
        proxy = in_site.enter_context(running(tmp_path, provider, f"wireguard@{SITE}:51820"))
        proxy.log.wait_for("WireGuard server listening")
        told = re.search(r"^\[Interface\]\n.+?^Endpoint.+?\n", "".join(list(proxy.log)), re.MULTILINE | re.DOTALL)
        assert told
        with inside(clients), wireguard(told[0], tmp_path):
            check_what_is_cached(lambda: socket.create_connection((PROVIDER, provider.port), 30), tmp_path, provider)
    provider.close()


def test_local_mode(tmp_path: Path, linked: tuple[str, str]) -> None:
    need("sudo", "unshare")
    clients, site = linked
    thread = Path("/proc/thread-self/comm")
    name, program = thread.read_text(), f"cache-{os.getpid()}"
    with inside(site):
        provider = Upstream(tls=certificate(tmp_path), host=PROVIDER)
    with contextlib.ExitStack() as in_clients:
        in_clients.enter_context(inside(clients))
        run("ip", "route", "add", f"{PROVIDER}/32", "via", SITE)
        wrapper = ("unshare", "--mount", "sh", "-c", CGROUPS, "sh")
        proxy = in_clients.enter_context(running(tmp_path, provider, f"local:{program}", wrapper=wrapper))
        proxy.log.wait_for("Local redirector started")  # it says so even where it has failed
        log = "".join(list(proxy.log))
        if "eBPF initialization failed" in log:
            pytest.skip("mitmproxy's redirector: " + "; ".join(re.findall(r" (?:Error|[0-9]): (.+ .+)", log)))
        thread.write_text(program)  # by this name the redirector knows the connections that follow
        try:
            check_what_is_cached(lambda: socket.create_connection((PROVIDER, provider.port), 30), tmp_path, provider)
        finally:
            thread.write_text(name)
    provider.close()
