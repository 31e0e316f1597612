"""What the end-to-end tests run: an upstream that tests script, and the proxy as a real process."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from forked import Forked, Program, mitmdump
from process_log import ProcessLog

MITMDUMP = (str(Path(sys.executable).parent / "mitmdump"),)
ENTRY = Path(__file__).parents[1] / "addon" / "computer_use_cache_addon.py"
FAKE_KEY = "-".join(("sk", "test", "key"))
"""A credential that no detector takes for a real one."""


@dataclass
class Asked:
    """A request as the upstream got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


type Send = Callable[[bytes], Awaitable[None]]
type Handler = Callable[[Asked, Send], Awaitable[None]]


class Upstream:
    """A provider on a port of `host` that sends whatever bytes a test wants over HTTP/1.1.

    A test replaces `handler`, which gets each request and a function that sends bytes; when it returns, the
    connection stays open if `keep_alive` is set, and is closed otherwise, or reset if `resets` is set.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.asked: list[Asked] = []
        self.handler: Handler = answer_chat
        self.keep_alive = True
        self.resets = False
        self.loop = asyncio.new_event_loop()
        self._arrivals = threading.Condition()
        self._serving: set[asyncio.Task[None] | None] = set()  # the loop itself would let go of a task that waits
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, host, port, limit=2**24, ssl=tls))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}/v1"

    def _run(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(30)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())

        async def send(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                asked = await _read_request(reader)
                with self._arrivals:
                    self.asked.append(asked)
                    self._arrivals.notify_all()
                await self.handler(asked, send)
                if self.resets:
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    break
                if not self.keep_alive:
                    break

    def wait_for(self, number: int) -> None:
        """Return once `number` requests have arrived."""
        with self._arrivals:
            assert self._arrivals.wait_for(lambda: len(self.asked) >= number, 30), f"{len(self.asked)} requests"

    def new_event(self) -> Gate:
        """A gate for handlers of this upstream, opened by the test."""
        return Gate(self)

    def stop(self) -> None:
        """Drop every connection and refuse further ones."""
        self._run(self._end())

    def close(self) -> None:
        self.stop()
        self._run(self._server.wait_closed())  # until the last connection is lost: its clients are gone
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(30)
        self.loop.close()

    async def _end(self) -> None:
        self._server.close()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class Gate:
    """An event in the upstream's event loop that a test sets from its own thread."""

    def __init__(self, upstream: Upstream) -> None:
        self._loop = upstream.loop
        self._event = asyncio.Event()

    async def wait(self) -> None:
        await self._event.wait()

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)


async def _read_request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b"".join([chunk async for chunk in _chunks(reader)])
    return Asked(method, path, headers, body)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readline()
    await reader.readline()


# -- answers


def response(body: bytes, status: int = 200, content_type: str = "application/json", **headers: str) -> bytes:
    """A whole HTTP response; underscores in header names stand for dashes."""
    lines = {"content-type": content_type, "content-length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; an empty one ends it."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def completion(text: str, **fields: Any) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-test",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": usage,
        "system_fingerprint": "fp_1",
    } | fields


def chat_events(*texts: str) -> list[bytes]:
    """The frames of a streamed chat completion, ending with [DONE]."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": text} for text in texts), {}]
    chunks = [
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": "gpt-test",
            "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}],
        }
        for delta in deltas
    ]
    return [*(b"data: " + json.dumps(item).encode() + b"\n\n" for item in chunks), b"data: [DONE]\n\n"]


async def answer_chat(asked: Asked, send: Send) -> None:
    """Answer any chat request with the text "pong", streamed when it is asked for."""
    if asked.method == "POST" and asked.json().get("stream"):
        await send(STREAM_HEAD + b"".join(map(chunk, [*chat_events("po", "ng"), b""])))
    else:
        await send(response(json.dumps(completion("pong")).encode(), x_request_id="req_1"))


def always(data: bytes) -> Handler:
    """A handler that sends the same bytes to every request."""

    async def handler(asked: Asked, send: Send) -> None:
        await send(data)

    return handler


# -- the proxy


@dataclass
class Answer:
    """A response as the client got it."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cache(self) -> str:
        return self.headers.get("x-computer-use-cache", "")


class Live:
    """An answer that is still arriving."""

    def __init__(self, port: int, path: str, body: Any) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.request("POST", path, json.dumps(body), {"authorization": f"Bearer {FAKE_KEY}"})
        self._response = self._connection.getresponse()
        self.headers = self._response.headers

    def read(self, size: int | None = None) -> bytes:
        """Up to `size` bytes, or all of them; raises IncompleteRead when the answer is broken off."""
        return self._response.read(size)

    def leave(self) -> None:
        """Close the connection; with bytes unread the kernel resets it."""
        self._response.close()
        self._connection.close()


@dataclass
class Proxy:
    """A running proxy."""

    process: Forked | subprocess.Popen[str]
    port: int
    log: ProcessLog
    reader: threading.Thread
    """Reads the log, and ends with the process."""
    live: list[Live] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """A JSON request."""
        sent = {"content-type": "application/json", "authorization": f"Bearer {FAKE_KEY}"} | dict(headers or {})
        return self.ask("POST", path, json.dumps(body).encode(), sent)

    def chat(self, text: str = "ping", headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
        """A chat request."""
        return self.post("/v1/chat/completions", chat_request(text, **fields), headers)

    def stream(self, text: str = "ping") -> Live:
        """A streamed chat request whose answer has begun."""
        answer = Live(self.port, "/v1/chat/completions", chat_request(text, stream=True))
        self.live.append(answer)
        return answer

    def http_proxy(self) -> tuple[str, int]:
        """The address where it serves as an HTTP proxy, if it was started in that mode too."""
        self.log.wait_for("HTTP(S) proxy listening at")
        found = re.search(r"HTTP\(S\) proxy listening at (\S+):([0-9]+)\.", "".join(self.log))
        assert found
        return found[1], int(found[2])

    def stats(self) -> Any:
        return self.ask("GET", "/cache/stats").json()

    def stop(self) -> int:
        """End it as a service manager would; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def chat_request(text: str = "ping", **fields: Any) -> dict[str, Any]:
    """A chat request's body."""
    return {"model": "gpt-test", "messages": [{"role": "user", "content": text}]} | fields


@contextlib.contextmanager
def running_proxy(
    folder: Path,
    upstream: str,
    *arguments: str,
    entry: Path = ENTRY,
    listen: str = "@127.0.0.1:0",
    wrapper: Sequence[str] = (),
    program: Program = mitmdump,
    **environment: str,
) -> Iterator[Proxy]:
    """Plain mitmdump with the addon, in reverse mode on a free loopback port, its store in `folder`.

    `wrapper` is a command that becomes mitmdump; `program` is then not used.
    """
    origin = "/".join(upstream.split("/")[:3])
    line = ["-s", str(entry), "--mode", f"reverse:{origin}{listen}", "--set", f"confdir={folder}/mitmproxy", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
    given = {"UPSTREAM_BASE_URL": upstream, "CACHE_DIR": str(folder / "store"), "PYTHONUNBUFFERED": "1"}
    variables = clean | given | environment
    process: Forked | subprocess.Popen[str]
    if wrapper:
        command = [*wrapper, *MITMDUMP, *line]
        process = subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    else:
        process = Forked(program, line, variables)
    assert process.stdout
    proxy = None
    try:
        proxy = _when_listening(process, process.stdout)
        yield proxy
    finally:
        for answer in proxy.live if proxy else ():
            answer.leave()
        process.kill()
        process.wait(30)
        if proxy:
            proxy.reader.join(30)
        process.stdout.close()


def _when_listening(process: Forked | subprocess.Popen[str], output: IO[str]) -> Proxy:
    log = ProcessLog()
    for line in output:
        log.append(line)
        if found := re.search(r"listening at 127\.0\.0\.1:(\d+)", line):
            return Proxy(process, int(found[1]), log, log.follow(output))
    raise AssertionError("the proxy did not start:\n" + "".join(log))
