from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import commands
from computer_use_cache.errors import SettingError
from computer_use_cache.launch import launcher
from computer_use_cache.settings import Settings


@pytest.fixture(autouse=True)
def port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    return commands.isolate(monkeypatch, tmp_path)


def test_the_entry_is_the_file_that_defines_the_addon() -> None:
    assert "addons = [ComputerUseCache()]" in launcher.entry_path().read_text()


@pytest.mark.parametrize(
    ("environment", "options", "own", "web", "expected"),
    [
        ({}, {}, [], False, ["--mode", "reverse:https://openrouter.ai@127.0.0.1:8000"]),
        ({"HOST": "::1", "PORT": "9"}, {}, [], False, ["--mode", "reverse:https://openrouter.ai@::1:9"]),
        ({"UPSTREAM_BASE_URL": "http://h:1/v1"}, {}, [], False, ["--mode", "reverse:http://h:1@127.0.0.1:8000"]),
        ({"UPSTREAM_BASE_URL": "http://h:1/v1"}, {}, [], False, ["--set", "cache_upstream_base_url=http://h:1/v1"]),
        ({}, {"cache_ttl_seconds": "5"}, [], False, ["--set", "cache_ttl_seconds=5"]),
        ({}, {}, [], False, ["--set", "flow_detail=0"]),
        ({}, {}, ["-w", "flows"], False, ["-w", "flows"]),
    ],
)
def test_the_argument_list_holds(
    environment: dict[str, str], options: dict[str, str], own: list[str], web: bool, expected: list[str]
) -> None:
    line = launcher.arguments(Settings.load(environment, options), options, own, web=web)
    assert line[:2] == ["-s", str(launcher.entry_path())]
    assert expected in [line[index : index + 2] for index in range(len(line))]


@pytest.mark.parametrize(("own", "web"), [(["--set", "flow_detail=2"], False), ([], True)])
def test_flow_detail_is_left_to_the_user_and_unknown_to_mitmweb(own: list[str], web: bool) -> None:
    assert "flow_detail=0" not in launcher.arguments(Settings.load({}), {}, own, web=web)


def test_the_users_arguments_come_last() -> None:
    assert launcher.arguments(Settings.load({}), {"cache_mode": "off"}, ["--x", "y"], web=False)[-2:] == ["--x", "y"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_loopback_address_needs_no_token(host: str) -> None:
    Settings.load({"HOST": host}).check_exposure([host])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.test"])
def test_another_address_needs_a_token(host: str) -> None:
    Settings.load({"CACHE_CLIENT_TOKEN": "t"}).check_exposure([host])
    with pytest.raises(SettingError, match=f"{host}.*CACHE_CLIENT_TOKEN"):
        Settings.load({"HOST": host}).check_exposure([host])


def test_start_serves_until_it_is_told_to_end_and_logs_no_connections() -> None:
    with commands.started("--upstream", "http://127.0.0.1:9/v1", "--cache-ttl-seconds", "77") as proxy:
        with urllib.request.urlopen(proxy.url + "/healthz") as answer:
            health = json.load(answer)
        assert health["upstream_base_url"] == "http://127.0.0.1:9/v1"
        assert health["cache"]["ttl_seconds"] == 77
        proxy.process.send_signal(signal.SIGTERM)
        rest, _ = proxy.process.communicate()
        assert proxy.process.returncode == 0
        assert "client connect" not in rest


def test_an_option_given_with_set_reaches_the_addon() -> None:
    pairs = ("--set", "cache_upstream_base_url=http://127.0.0.1:9/v1", "--set", "cache_dir=here")
    with commands.started(*pairs) as proxy, urllib.request.urlopen(proxy.url + "/healthz") as answer:
        health = json.load(answer)
    assert health["upstream_base_url"] == "http://127.0.0.1:9/v1"
    assert Path("here").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cache-ttl-seconds", "soon"], "Error: CACHE_TTL_SECONDS (option cache_ttl_seconds): 'soon'"),
        (["--set", "cache_mode=fast"], "Error: CACHE_MODE (option cache_mode): 'fast' is not allowed; give readwrite"),
        (["--port", "70000"], "Error: PORT: '70000' is not allowed"),
        (["--host", "0.0.0.0"], "Error: HOST: 0.0.0.0 can be reached from other machines; set CACHE_CLIENT_TOKEN"),
        (["--upstream", "openai"], "Error: UPSTREAM_BASE_URL"),
        (
            ["--upstream", "http://localhost:8765/v1", "--port", "8765"],
            "Error: UPSTREAM_BASE_URL: http://localhost:8765",
        ),
        (["--cache-dir", sys.executable], f"Error: the store in {sys.executable} cannot be used"),
    ],
)
def test_a_bad_setting_is_refused_before_mitmproxy_is_loaded(arguments: list[str], message: str) -> None:
    program = (
        "import sys; from computer_use_cache.cli import main; status = main(['start', *sys.argv[1:]]); "
        "print(status, 'mitmproxy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == "1 False\n"
    assert done.stderr.startswith(message)


ALLOCATE = """
import resource
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from computer_use_cache.launch import launcher

launcher.keep_freed_memory()
with ThreadPoolExecutor(5) as threads:  # which take turns
    all_started = Barrier(5)
    list(threads.map(lambda _: all_started.wait(), range(5)))
    for number in range(6):
        if number == 1:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        # larger than what glibc would ever keep by itself
        threads.submit(lambda: len(b"x" * 40_000_000)).result()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
def test_the_memory_of_large_bodies_is_kept_for_the_next_ones() -> None:
    done = subprocess.run([sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=True)
    pages = 40_000_000 // resource.getpagesize()
    assert int(done.stdout) < pages, "five more bodies took fewer new pages than one has"


def test_a_port_that_another_program_uses_is_a_clear_error() -> None:
    with commands.web_server() as url:
        done = commands.run_module("start", "--port", url.rpartition(":")[2])
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: PORT: cannot listen on {url}: Address already in use; stop what uses it")


def test_an_address_that_is_not_this_machines_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_CLIENT_TOKEN", "token")
    for host in ("192.0.2.1", "host.invalid"):
        done = commands.run_module("start", "--host", host, "--port", "0")
        assert done.returncode == 1
        assert re.fullmatch(rf"Error: HOST: cannot listen on http://{host}:0: .+; give an .+ machine\n", done.stderr)


def test_a_port_that_a_cache_uses_is_said_to_be_so() -> None:
    with commands.started() as proxy:
        done = commands.run_module("start", "--port", proxy.url.rpartition(":")[2])
    assert done.returncode == 1
    assert "a cache is running there already" in done.stderr


def test_requests_that_come_the_moment_it_listens_are_answered(port: int) -> None:
    def connected() -> socket.socket:
        while process.poll() is None:
            with contextlib.suppress(ConnectionRefusedError):
                return socket.create_connection(("127.0.0.1", port), 30)
        raise AssertionError("it ended")

    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-m", "computer_use_cache", "start"],
            env=os.environ | {"UPSTREAM_BASE_URL": "http://127.0.0.1:1/v1"},
        )
        try:
            for _ in range(20):
                with contextlib.closing(connected()) as client:
                    client.sendall(b"GET /elsewhere HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
                    assert client.recv(12) == b"HTTP/1.1 502"
        finally:
            process.kill()
            process.wait()


def test_output_is_not_held_back_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED")
    with commands.started():
        pass  # `started` has read where it listens, from a pipe, while it still runs


def test_the_default_host_is_reached_over_both_loopback_addresses() -> None:
    port = commands.free_port()
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    with commands.started("--port", str(port)) as cache:
        assert cache.process.stdout
        next(line for line in cache.process.stdout if "listening at" in line)  # the other address
        for host in ("127.0.0.1", "[::1]", "localhost"):
            with urllib.request.urlopen(f"http://{host}:{port}/healthz") as answer:
                assert answer.status == 200


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
