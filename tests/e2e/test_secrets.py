"""No credential that passes through the proxy is left behind: not in store, log, statistics, metrics or saved flows."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard

import commands
from credential_samples import TEXTS, VALUES
from support import Asked, Send, Upstream, always, answer_chat, chat_request, chunk, completion, response, running_proxy

# Assembled here, so that no file holds what looks like a credential.
SECRETS = {
    name: "-".join((name, "0123456789abcdef"))
    for name in (
        "operator",
        "admin",
        "bearer",
        "anthropic",
        "google",
        "azure",
        "query",
        "apikey",
        "sig",
        "cookie",
        "org",
        "proxyauth",
    )
}
PROMPTED = "_".join(("ghp", "0123456789abcdefghijklmnopqrstuvwxyz"[:36]))
CARRIED = {
    "Authorization": "Bearer " + SECRETS["bearer"],
    "x-api-key": SECRETS["anthropic"],
    "x-goog-api-key": SECRETS["google"],
    "api-key": SECRETS["azure"],
    "Cookie": "session=" + SECRETS["cookie"],
    "OpenAI-Organization": SECRETS["org"],
    "Proxy-Authorization": "Basic " + SECRETS["proxyauth"],
    "X-Cache-Admin-Token": SECRETS["admin"],
}
QUERY = f"?key={SECRETS['query']}&api_key={SECRETS['apikey']}&sig={SECRETS['sig']}"


async def quote_the_key(asked: Asked, send: Send) -> None:
    """Quote the operator's key, as some providers do with one that they do not know."""
    if b"good" in asked.body:
        await answer_chat(asked, send)
    else:
        sent = [value for value in asked.headers.values() if SECRETS["operator"] in value]
        await send(response(json.dumps({"error": {"message": f"bad key {sent}"}}).encode(), 401))


def run_traffic(folder: Path, upstream: Upstream, *arguments: str, **environment: str) -> str:
    """Send requests of all kinds; returns the proxy's log, and what it reports about itself."""
    flows = ("-w", str(folder / "flows.mitm"))
    with running_proxy(folder, upstream.url, *flows, *arguments, **environment) as proxy:
        for text in ("good", "good", "quoted", f"good {PROMPTED}"):
            for fields in ({}, {"stream": True}):
                for path in ("/v1/chat/completions", f"/v1/chat/completions{QUERY}", "/v1/messages"):
                    body = chat_request(text, max_tokens=1, **fields)
                    proxy.ask("POST", path, json.dumps(body).encode(), CARRIED)
        for path in ("/v1/models", f"/v1/files{QUERY}", f"/cache/entries{QUERY}", "/nothing"):
            proxy.ask("GET", path, headers=CARRIED)
        proxy.ask("GET", "/v1/models", headers=CARRIED | {"Host": "evil.example"})
        proxy.chat(headers=CARRIED | {"X-Cache-Mode": "bad"})
        for end in (b"", b"\0\r\n\r\n", b"\r\nContent-Length: x\r\n\r\n", b"\r\nno colon\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
                # Half a head, and heads that are refused.
                head = f"POST /v1/x{QUERY} HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: {SECRETS['anthropic']}"
                connection.sendall(head.encode() + end)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(10_000)
        told = [proxy.ask("GET", path, headers=CARRIED) for path in ("/cache/stats", "/metrics", "/healthz", "/")]
        upstream.stop()
        proxy.ask("POST", f"/v1/chat/completions{QUERY}", json.dumps(chat_request("good, not known")).encode(), CARRIED)
        assert proxy.stop() == 0
        proxy.reader.join(30)
        return "".join(proxy.log) + "".join(f"{answer.headers}{answer.body!r}" for answer in told)


@pytest.mark.parametrize("arguments", [(), ("-v",)], ids=["plain", "verbose"])
@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"UPSTREAM_API_KEY": SECRETS["operator"]},
        {"CACHE_CLIENT_TOKEN": "ann:" + SECRETS["bearer"], "CACHE_ADMIN_TOKEN": SECRETS["admin"]},
        {"UPSTREAM_API_KEY": SECRETS["operator"], "CACHE_SCOPE": "credential", "INCLUDE_CACHE_METADATA": "1"},
    ],
    ids=["clients' keys", "operator's key", "client tokens", "scope credential"],
)
def test_no_credential_is_left_anywhere(
    tmp_path: Path, upstream: Upstream, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    upstream.handler = quote_the_key
    told = run_traffic(tmp_path, upstream, *arguments, **environment).encode()
    assert len(upstream.asked) > 5
    if "UPSTREAM_API_KEY" in environment:
        assert all(SECRETS["operator"] in str(asked.headers) for asked in upstream.asked), "it did go upstream"
    store = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    assert store, "there is one to look into"
    for name, secret in (*SECRETS.items(), ("prompted", PROMPTED)):
        assert secret.encode() not in store, f"{name} in the store"
        assert secret.encode() not in told, f"{name} in the log, the statistics or the metrics"
    flows = (tmp_path / "flows.mitm").read_bytes()
    assert flows.count(b"/v1/chat/completions") > 10, "prompts and answers are there, and what let a caller in is not:"
    for name, secret in SECRETS.items():
        assert secret.encode() not in flows, f"{name} in the saved flows"


def test_a_word_in_the_place_of_a_key_is_left_in_answers(tmp_path: Path, upstream: Upstream) -> None:
    with running_proxy(tmp_path, upstream.url, UPSTREAM_API_KEY="pong") as proxy:
        for _ in range(2):
            assert proxy.chat().json()["choices"][0]["message"]["content"] == "pong"


ERROR = json.dumps({"error": {"message": f"bad key {SECRETS['operator']}, ask for another"}}).encode()
CODINGS = {
    "": lambda body: body,
    "gzip": gzip.compress,
    "br": brotli.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "rot13": lambda body: body,
    "aes128gcm": lambda body: body,
}
UNKNOWN = ("rot13", "aes128gcm")
FRAMINGS = {
    "a length": lambda body: b"content-length: %d\r\n\r\n%s" % (len(body), body),
    "chunks": lambda body: b"transfer-encoding: chunked\r\n\r\n" + chunk(body[:40]) + chunk(body[40:]) + chunk(b""),
    "the connection's end": lambda body: b"connection: close\r\n\r\n" + body,
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_no_client_sees_the_operators_key_in_an_error(tmp_path: Path, upstream: Upstream, framing: str) -> None:
    upstream.keep_alive = framing != "the connection's end"
    with running_proxy(tmp_path, upstream.url, UPSTREAM_API_KEY=SECRETS["operator"]) as proxy:
        for coding, encode in CODINGS.items():
            line = f"content-encoding: {coding}\r\n" if coding else ""
            head = f"HTTP/1.1 401 X\r\ncontent-type: application/json\r\nx-request-id: 7\r\n{line}"
            upstream.handler = always(head.encode() + FRAMINGS[framing](encode(ERROR)))
            for method, path in (("POST", "/v1/chat/completions"), ("POST", "/v1/files"), ("GET", "/v1/models")):
                sent = json.dumps(chat_request()).encode() if method == "POST" else None
                answer = proxy.ask(method, path, sent, {"accept-encoding": coding or "identity"})
                where = f"{method} {path}, {coding}: {answer}"
                assert (answer.status, answer.headers["x-request-id"]) == (401, "7"), where
                assert answer.cache == ("BYPASS" if path != "/v1/chat/completions" else "MISS"), where
                assert "content-encoding" not in answer.headers, where
                assert SECRETS["operator"].encode() not in answer.body, where
                told = answer.json()["error"]["message"]
                assert ("it is withheld" in told.lower()) == (coding in UNKNOWN), where
                assert ("ask for another" in told) == (coding not in UNKNOWN), where


async def repeat_the_prompt(asked: Asked, send: Send) -> None:
    await send(response(json.dumps(completion("You said: " + asked.json()["messages"][0]["content"])).encode()))


_SHOWING = (("runs",), ("show", "--json"), ("show", "last", "2"))


@pytest.mark.parametrize("shared", [False, True], ids=["on disk", "shared"])
def test_no_kind_of_credential_in_a_conversation_is_left_in_the_store_and_its_export(
    shared: bool,
    tmp_path: Path,
    upstream: Upstream,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream.handler = repeat_the_prompt
    server: Any = request.getfixturevalue("store_server") if shared else None
    place = {"CACHE_STORE_URL": server.connection_url} if shared else {"CACHE_DIR": str(tmp_path / "store")}
    with running_proxy(tmp_path, upstream.url, **place) as proxy:
        for kind, text in TEXTS.items():
            question = f"{kind}\n\n{text}"  # the same words around another credential are the same question
            answers = [proxy.chat(question, {"x-cache-run": "scan"}) for _ in range(2)]
            assert [answer.cache for answer in answers] == ["MISS", "HIT"], kind
            said = [answer.json()["choices"][0]["message"]["content"] for answer in answers]
            assert said == [f"You said: {question}"] * 2, f"the {kind} is put back"
        told = "".join(f"{proxy.ask('GET', path).body!r}" for path in ("/cache/stats", "/cache/entries", "/metrics"))
        assert proxy.stop() == 0, "and the last calls are recorded in their run"
    log = "".join(proxy.log)
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    exported = tmp_path / "exported.jsonl"
    done = commands.run_module("export", str(exported))
    assert done.returncode == 0, done.stderr
    lines = exported.read_text(encoding="utf-8")
    assert lines.count("<secret 1") >= len(TEXTS)
    page = tmp_path / "page.html"
    commanded = [
        done,
        *(commands.run_module(*line) for line in _SHOWING),
        commands.run_module("report", "-o", str(page)),
    ]
    assert all(each.returncode == 0 for each in commanded), [each.stderr for each in commanded]
    report = page.read_text(encoding="utf-8")
    assert report.count("secret 1") >= len(TEXTS)
    outputs = "".join(each.stdout + each.stderr for each in commanded)
    kept = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    if shared:
        with server.client() as client:
            kept = repr([(key, client.dump(key)) for key in client.scan_iter()]).encode()
    assert kept
    for kind, value in VALUES.items():
        spelled = json.dumps(value)[1:-1]
        for where, text in {"export": lines, "log": log, "pages": told, "commands": outputs, "report": report}.items():
            assert value not in text, f"{kind} in the {where}"
            assert spelled not in text, f"{kind} in the {where}"
        assert value.encode() not in kept, f"{kind} in the store"
