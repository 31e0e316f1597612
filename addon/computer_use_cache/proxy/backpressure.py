"""Makes an answer that an addon streams wait for a client that is slow to read.

mitmproxy reads from an upstream only while the client takes what is sent to it. An answer from elsewhere has no such
limit: its transport would keep all that the client has not read, a copy for each follower of a long stream.
"""

from __future__ import annotations

import asyncio

from mitmproxy import ctx

MOST_UNSENT = 64 * 1024
"""Bytes that may wait for a slow client to read them. With more, its answer is read at the client's pace."""


async def client_reads(client_id: str) -> None:
    """Return at once unless too much is unsent; then wait until the client has read most of it, or is gone. A client
    that reads too little for as long as a connection may be idle is disconnected."""
    handler = ctx.master.addons.get("proxyserver").connections.get(client_id)
    client = handler and handler.transports.get(handler.client)
    # Datagrams have streams of mitmproxy's own.
    if not client or not client.handler or not isinstance(client.writer, asyncio.StreamWriter):
        return
    if client.writer.transport.get_write_buffer_size() <= MOST_UNSENT:
        return
    # What is closed with bytes unsent may never be drained, but its handler has ended.
    drained = asyncio.gather(client.writer.drain(), return_exceptions=True)
    done, _ = await asyncio.wait(
        [drained, client.handler], timeout=ctx.options.tcp_timeout, return_when=asyncio.FIRST_COMPLETED
    )
    drained.cancel()
    if not done:
        await handler.on_timeout()
