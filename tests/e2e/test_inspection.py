"""What mitmweb shows of a running cache, what its commands do, and what is left in a file of saved flows."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from commands import free_port, isolate, started
from process_log import ProcessLog
from support import ENTRY, FAKE_KEY, Proxy, Upstream, running_proxy

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what mitmproxy itself imports
    from mitmproxy.io import FlowReader

PASSWORD = "-".join(("a", "pass", "word"))
OPERATORS_KEY = "-".join(("operators", "key", "0123456789"))
XSRF = "0" * 32
NAMESPACE = {"X-Cache-Namespace": "run-1"}
RUN = {"X-Cache-Run": "nightly-4"}
SYSTEM = {"role": "system", "content": "You answer in one word, whatever you are asked."}
COLUMNS = ["icon", "path", "comment", "status", "size", "time"]


@dataclass
class Web:
    """A running mitmweb."""

    proxy: Proxy
    url: str

    def ask(self, method: str, path: str, sent: Any = None) -> Any:
        """An answer of its API, which wants one token twice against forged requests."""
        headers = {"Authorization": f"Bearer {PASSWORD}", "Content-Type": "application/json"}
        headers |= {"Cookie": f"_mitmproxy_xsrf={XSRF}", "X-XSRFToken": XSRF}
        request = urllib.request.Request(self.url + path, json.dumps(sent).encode(), headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or b"null")

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def flows(self) -> list[dict[str, Any]]:
        flows: list[dict[str, Any]] = self.get("/flows")
        return flows

    def command(self, name: str, *arguments: str) -> Any:
        return self.ask("POST", f"/commands/{name}", {"arguments": arguments})

    def shown(self, flow: dict[str, Any], message: str) -> str:
        """What its view shows of a flow's `request` or `response`."""
        text: str = self.get(f"/flows/{flow['id']}/{message}/content/auto.json")["text"]
        return text

    def when(self, ready: Callable[[], Any]) -> Any:
        """The result of `ready`, as soon as it returns one."""
        end = time.monotonic() + 30
        while not (found := ready()):
            assert time.monotonic() < end, self.get("/events")
        return found

    def told(self, text: str) -> str:
        """The newest line of the event log that contains this text, as soon as there is one."""
        found: str = self.when(lambda: [e["message"] for e in self.get("/events") if text in e["message"]])[-1]
        return found.partition("] ")[2]


def _listens(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


@pytest.fixture
def web(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """`start --web` in front of the upstream."""
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("UPSTREAM_BASE_URL", upstream.url)
    monkeypatch.setenv("UPSTREAM_API_KEY", OPERATORS_KEY)
    monkeypatch.setenv("CACHE_MAX_FLOWS", "6")
    port = free_port()
    own = ("--no-web-open-browser", "--set", f"web_password={PASSWORD}", "--set", f"confdir={tmp_path}/conf")
    with started("--web", "--set", f"web_port={port}", "--", *own) as running:
        proxy = Proxy(running.process, int(running.url.rpartition(":")[2]), ProcessLog(), None)  # type: ignore[arg-type]
        while not _listens(port):  # mitmweb's own server starts after the proxy
            assert running.process.poll() is None
        yield Web(proxy, f"http://127.0.0.1:{port}")
        for answer in proxy.live:
            answer.leave()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[WebDriver]:
    """A Chromium without a window."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver (on Debian the packages chromium and chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    for argument in ("--headless=new", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path}/chromium", *sandbox):
        options.add_argument(argument)
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield running
    running.quit()


def question(text: str) -> dict[str, Any]:
    """Two such requests are near each other."""
    return {"messages": [SYSTEM, {"role": "user", "content": text}]}


def comments(web: Web) -> list[str]:
    """The comments, without keys and times."""
    return [re.sub(r"[0-9a-f]{8}|[0-9.]+ m?s\b", "<>", flow["comment"]) for flow in web.flows()]


def test_mitmweb_shows_what_became_of_each_request(web: Web, upstream: Upstream) -> None:
    web.proxy.chat(**question("one question"))
    web.proxy.chat(**question("one question"))
    web.proxy.chat(**question("one other question"), stream=True)
    web.proxy.chat(**question("one other question"))
    web.proxy.chat("past it", {"X-Cache-Bypass": "1"})
    flows = web.flows()
    assert comments(web) == [
        "MISS stored · <>",
        "HIT <> saved · <>",
        "MISS messages/1/content @ char 4 · near <> · stored · <>",
        "HIT <> saved · <>",
        "BYPASS X-Cache-Bypass",
    ]
    assert [flow["marked"] for flow in flows] == ["🔵", "⚡", "🔵", "⚡", "⚪"]
    assert "── [1] user" in web.shown(flows[0], "request")
    assert "one question" in web.shown(flows[0], "request")
    for flow in flows:
        assert "── [0] assistant · stop" in web.shown(flow, "response"), "a stream is assembled"
    assert {call.headers["authorization"] for call in upstream.asked} == {f"Bearer {OPERATORS_KEY}"}
    state = json.dumps([flows, web.get("/events"), web.get("/options")])
    assert OPERATORS_KEY not in state
    assert FAKE_KEY not in state
    assert web.get("/options")["web_columns"]["value"] == COLUMNS


def test_a_browser_finds_the_hits(web: Web, browser: WebDriver) -> None:
    for text in ("ping", "ping", "other"):
        web.proxy.chat(text, stream=True)
    wait = WebDriverWait(browser, 30)
    browser.get(f"{web.url}/?token={PASSWORD}")
    wait.until(lambda page: len(page.find_elements(By.CSS_SELECTOR, "tr.has-response")) == 3)
    browser.find_element(By.LINK_TEXT, "Flow List").click()
    browser.find_element(By.CSS_SELECTOR, "input[placeholder=Search]").send_keys("~comment HIT", Keys.ENTER)
    wait.until(lambda page: len(page.find_elements(By.CSS_SELECTOR, "tr.has-response")) == 1)
    row = browser.find_element(By.CSS_SELECTOR, "tr.has-response")
    assert row.find_element(By.CSS_SELECTOR, ".marker").text == "⚡"
    assert re.fullmatch("HIT [0-9.]+ m?s saved · [0-9a-f]{8}", row.find_element(By.CSS_SELECTOR, ".col-comment").text)
    row.click()
    browser.find_element(By.LINK_TEXT, "Response").click()
    wait.until(lambda page: "[0] assistant · stop" in page.find_element(By.CSS_SELECTOR, ".flow-detail").text)
    assert "pong" in browser.find_element(By.CSS_SELECTOR, ".flow-detail").text.splitlines(), "the pieces are joined"


def test_commands_and_a_second_question_from_mitmweb(web: Web, upstream: Upstream, tmp_path: Path) -> None:
    web.proxy.chat(**question("one question"))
    web.proxy.chat(**question("one other question"), headers=NAMESPACE)
    web.proxy.chat(**question("one more question"), headers=NAMESPACE, stream=True)
    first, _, third = (f"@{flow['id']}" for flow in web.flows())
    assert "entries 3, hits 0, misses 3, " in web.command("cache.stats")["value"]
    web.shown(web.flows()[2], "response")
    differs = web.command("cache.explain", "@focus")["value"].split("\n")  # the flow that was shown last
    assert differs[1] == "  /messages/1/content @ char 4: one more question, stored one other question"

    web.command("cache.export", str(tmp_path / "entries.jsonl"))
    assert web.told("exported") == f"exported 3 entries to {tmp_path}/entries.jsonl"
    assert (tmp_path / "entries.jsonl").read_bytes().count(b"\n") == 4
    web.command("cache.export", str(tmp_path / "nowhere" / "entries.jsonl"))
    assert web.told("cannot write").endswith("entries.jsonl: No such file or directory")

    web.command("cache.refresh", third)
    web.when(lambda: web.flows()[2]["comment"].startswith("MISS X-Cache-Mode: refresh · updated"))
    assert upstream.asked[3].headers["authorization"] == f"Bearer {OPERATORS_KEY}"
    assert not [name for name in upstream.asked[3].headers if name.startswith("x-cache")]
    assert web.proxy.chat(**question("one more question"), headers=NAMESPACE).cache == "HIT", "kept where it was"

    web.ask("POST", f"/flows/{first[1:]}/replay")
    assert web.when(lambda: web.flows()[0]["comment"].startswith("HIT")), "mitmproxy's own replay asks the cache"
    web.command("cache.evict", first)
    assert web.told("evicted") == "evicted 1 of 1 entry"
    assert web.proxy.chat(**question("one question")).cache == "MISS"
    web.command("cache.reject", first)
    assert web.told("rejected") == "rejected 1 of 1 entry; the next call asks upstream"
    assert web.proxy.chat(**question("one question")).cache == "MISS"
    web.command("cache.clear")
    assert web.told("cleared") == "cleared 3 entries"
    assert web.proxy.chat(**question("one question")).cache == "MISS"

    for number in range(6):
        web.proxy.chat(f"question {number}")
    assert len(web.flows()) == 6, "the oldest are gone"
    assert web.command("cache.evict", "~m GET") == {"error": "choose flows with model calls, such as @focus or @shown"}
    assert OPERATORS_KEY not in json.dumps([web.flows(), web.get("/events")])


def test_a_flow_that_goes_elsewhere_never_gets_the_operators_key(web: Web) -> None:
    other = Upstream()
    try:
        web.proxy.chat("ping")
        flow = web.flows()[0]
        web.ask("PUT", f"/flows/{flow['id']}", {"request": {"port": other.port}})
        web.ask("POST", f"/flows/{flow['id']}/replay")
        answer = web.when(lambda: web.flows()[0].get("response"))
        assert answer["status_code"] == 403
        assert other.asked == []
    finally:
        other.close()


def test_a_flow_that_a_user_changes_on_the_way_keeps_no_key(web: Web, upstream: Upstream) -> None:
    web.ask("PUT", "/options", {"intercept": "~q"})
    with ThreadPoolExecutor() as client:
        answer = client.submit(web.proxy.chat, "ping")
        flow = web.when(lambda: [flow for flow in web.flows() if flow["intercepted"]])[0]
        web.ask("PUT", f"/flows/{flow['id']}", {"request": {"headers": [*flow["request"]["headers"], ["x-more", "1"]]}})
        web.ask("POST", f"/flows/{flow['id']}/resume")
        assert answer.result(30).status == 200
    assert upstream.asked[0].headers["authorization"] == f"Bearer {OPERATORS_KEY}"
    assert upstream.asked[0].headers["x-more"] == "1"
    web.ask("POST", f"/flows/{flow['id']}/revert")
    assert "x-more" not in str(web.flows())
    assert OPERATORS_KEY not in str(web.flows())


def test_a_file_of_saved_flows_loads_in_plain_mitmproxy(tmp_path: Path, upstream: Upstream) -> None:
    saved = tmp_path / "flows.mitm"
    environment = {"UPSTREAM_API_KEY": OPERATORS_KEY, "CACHE_FAST_LANE": "auto"}
    with running_proxy(tmp_path, upstream.url, "-w", str(saved), **environment) as proxy:
        for headers in ({}, RUN, NAMESPACE):
            proxy.chat("ping", headers)
            proxy.chat("ping", headers, stream=True)
        assert proxy.stop() == 0
    with saved.open("rb") as file:
        flows = [flow for flow in FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]
    assert [flow.metadata["cache"] for flow in flows] == ["MISS", "HIT", "HIT", "HIT", "MISS", "HIT"]
    assert flows[0].comment == f"MISS stored · {flows[0].metadata['cache_key'][:8]}"
    assert [flow.metadata.get("cache_run") for flow in flows[1:4]] == [None, "nightly-4", "nightly-4"]
    assert flows[4].metadata["cache_controls"] == {"x-cache-namespace": "run-1"}
    assert OPERATORS_KEY.encode() not in saved.read_bytes()
    plain = [str(Path(sys.executable).parent / "mitmdump"), "-nr", str(saved), "--set", f"confdir={tmp_path}/conf"]
    done = subprocess.run([*plain, "~comment HIT"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("POST") == 4
    assert "rror" not in done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal that a program can play (pty)")
def test_mitmproxys_console_shows_hits_and_runs_the_commands(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pty  # noqa: PLC0415
    import termios  # noqa: PLC0415

    port, (terminal, inside) = isolate(monkeypatch, tmp_path), pty.openpty()
    termios.tcsetwinsize(terminal, (40, 140))
    command = [str(Path(sys.executable).parent / "mitmproxy"), "-s", str(ENTRY), "--set", f"confdir={tmp_path}/conf"]
    command += ["--mode", f"reverse:{upstream.url.removesuffix('/v1')}@127.0.0.1:{port}"]
    given = {"UPSTREAM_BASE_URL": upstream.url, "CACHE_DIR": str(tmp_path), "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=os.environ | given)
    proxy = Proxy(process, port, [], None)  # type: ignore[arg-type]

    def is_shown(text: str, seconds: float = 60) -> bool:
        seen, ends = "", time.monotonic() + seconds
        while text not in seen:
            left = ends - time.monotonic()
            if left < 0 or not select.select([terminal], [], [], left)[0]:
                return False
            seen += os.read(terminal, 65536).decode("utf-8", "replace")
        return True

    def run(typed: str, told: str, restore: Callable[[], object] = lambda: None) -> None:
        for _ in range(3):  # a message that comes at the wrong moment is not shown
            os.write(terminal, f":{typed}\r".encode())
            if is_shown(told, 15):
                return
            restore()
        pytest.fail(f"{typed} did not say {told}")

    try:
        assert is_shown(f"127.0.0.1:{port}")
        assert [proxy.chat().cache for _ in range(2)] == ["MISS", "HIT"]
        assert is_shown("⚡")
        run("cache.stats", "entries 1, hits 1, misses 1")
        run("cache.evict @focus", "evicted 1 of 1", proxy.chat)
        assert proxy.stats()["entries"] == 0
    finally:
        process.kill()
        process.wait(30)
        os.close(terminal)
        os.close(inside)
