"""HTTP/2 on either side of the proxy, and on both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from support import Asked, Send, Upstream, answer_chat, chat_events, chat_request, completion, running_proxy
from tls import certificate

EVENTS = chat_events("po", "ng")


class Http2Upstream(Upstream):
    """A provider that speaks HTTP/2 only."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        bodies: dict[int, bytes] = {}
        try:
            while True:
                writer.write(connection.data_to_send())
                data = await reader.read(65536)
                if not data:
                    return
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.DataReceived):
                        bodies[event.stream_id] = bodies.get(event.stream_id, b"") + (event.data or b"")
                        connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                    elif isinstance(event, h2.events.StreamEnded):
                        self._answer(connection, event.stream_id, bodies.pop(event.stream_id))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, connection: h2.connection.H2Connection, stream: int, body: bytes) -> None:
        self.asked.append(Asked("POST", "", {}, body))
        request = json.loads(body)
        kind = "text/event-stream" if request.get("stream") else "application/json"
        connection.send_headers(stream, [(":status", "200"), ("content-type", kind)])
        for piece in EVENTS if request.get("stream") else [json.dumps(completion("pong")).encode()]:
            connection.send_data(stream, piece)
        connection.end_stream(stream)


class ClientContext(ssl.SSLContext):
    """A client's context that offers HTTP/2 only; httpx would always offer HTTP/1.1 first."""

    only_http2 = False

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        super().set_alpn_protocols(["h2"] if self.only_http2 else alpn_protocols)


def client_of(protocol: str) -> httpx.Client:
    """A client that speaks this protocol with mitmproxy; one that speaks HTTP/1.1 offers both."""
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.only_http2 = protocol == "HTTP/2"
    return httpx.Client(http1=not context.only_http2, http2=True, verify=context, trust_env=False)


PROTOCOLS = ["HTTP/1.1", "HTTP/2"]


@pytest.mark.parametrize("client_speaks", PROTOCOLS)
@pytest.mark.parametrize("upstream_speaks", PROTOCOLS)
def test_each_protocol_on_each_side(tmp_path: Path, client_speaks: str, upstream_speaks: str) -> None:
    context = certificate(tmp_path)
    context.set_alpn_protocols(["h2"] if upstream_speaks == "HTTP/2" else ["http/1.1"])
    provider = (Http2Upstream if upstream_speaks == "HTTP/2" else Upstream)(context)
    with contextlib.closing(provider), running_proxy(tmp_path, provider.url, "--set", "ssl_insecure=true") as proxy:
        url = f"https://127.0.0.1:{proxy.port}/v1/chat/completions"
        with client_of(client_speaks) as client:
            streams = [client.post(url, json=chat_request(stream=True)) for _ in range(2)]
            jsons = [client.post(url, json=chat_request("json")) for _ in range(2)]
            provider.stop()
            failure = client.post(url, json=chat_request("down"))
    for miss, hit in (streams, jsons):
        assert [miss.http_version, hit.http_version] == [client_speaks] * 2
        assert [miss.headers["x-computer-use-cache"], hit.headers["x-computer-use-cache"]] == ["MISS", "HIT"]
        assert miss.content == hit.content
    assert streams[0].content == b"".join(EVENTS)
    assert jsons[0].json() == completion("pong")
    assert len(provider.asked) == 2
    assert (failure.status_code, failure.json()["error"]["type"]) == (502, "upstream_error")


def test_many_calls_of_one_connection_reach_an_http_1_upstream_at_the_same_time(tmp_path: Path) -> None:
    provider, number = Upstream(certificate(tmp_path)), 20
    gate = provider.new_event()

    async def hold(asked: Asked, send: Send) -> None:
        await gate.wait()
        await answer_chat(asked, send)

    provider.handler = hold
    with (
        contextlib.closing(provider),
        running_proxy(tmp_path, provider.url, "--set", "ssl_insecure=true") as proxy,
        client_of("HTTP/2") as client,
        ThreadPoolExecutor(number) as pool,
    ):
        url = f"https://127.0.0.1:{proxy.port}/v1/chat/completions"
        calls = [pool.submit(client.post, url, json=chat_request(f"call {call}"), timeout=60) for call in range(number)]
        provider.wait_for(number)
        gate.open()
        assert [call.result().status_code for call in calls] == [200] * number
