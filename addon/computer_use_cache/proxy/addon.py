"""mitmproxy's hooks. Each one guards, translates, asks the core and acts; decisions are made in the core.

A failure of the cache is one warning and, if the request may go upstream, a miss; a failure of the guard is a refusal.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Client
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import NextLayer
from mitmproxy.proxy.layers.http import HTTPMode
from mitmproxy.tls import ClientHelloData

from computer_use_cache.errors import RequestError, SettingError, StoreError
from computer_use_cache.exchange.failure_log import FailureLog
from computer_use_cache.network import Proxies
from computer_use_cache.proxy import flows, forwarding, interception, modes, replayer, responses
from computer_use_cache.proxy.client_layer import FastHttpLayer
from computer_use_cache.proxy.connections import Connections, raise_upstream_limit
from computer_use_cache.proxy.fast_path.conversation import Search
from computer_use_cache.proxy.fast_path.eligibility import needs_flows
from computer_use_cache.proxy.fast_path.lookup import FastPath
from computer_use_cache.proxy.fast_path.searches import Searches
from computer_use_cache.proxy.http.layer import with_cache_layer
from computer_use_cache.proxy.http.owner import Feed
from computer_use_cache.proxy.http.websocket import Reading
from computer_use_cache.proxy.session import Session
from computer_use_cache.proxy.shutdown import drain
from computer_use_cache.proxy.signing import sign_anew
from computer_use_cache.proxy.ui.annotations import Inspector
from computer_use_cache.proxy.ui.commands import Commands
from computer_use_cache.proxy.upkeep import import_once, repeat
from computer_use_cache.setting_values import Samples, Switch
from computer_use_cache.settings import Settings

logger = logging.getLogger(__name__)

_FLUSH_SECONDS = 1.0
_MAINTENANCE_SECONDS = 60.0


def _without_traceback(record: logging.LogRecord) -> bool:
    """Drop the traceback with which mitmproxy logs a setting that was refused: the message says what to do."""
    if record.exc_info and isinstance(refusal := record.exc_info[1], exceptions.OptionsError):
        record.msg, record.args, record.exc_info = f"{record.getMessage()}: {refusal}", (), None
    return True


class ComputerUseCache:
    """The addon. From `configure` to `done` it holds the store open."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._proxies = Proxies()
        self.connections = Connections()
        self.searches = Searches()
        self._upkeep: asyncio.Task[None] | None = None
        self._ending = False
        self._is_fast_path_open: bool | None = None
        """None if it must be determined again: options have changed, or an addon may have been added."""
        self.addons = [Inspector(lambda: self._session), Commands(lambda: self._session)]

    # -- life

    def load(self, loader: Loader) -> None:
        logging.getLogger("mitmproxy.addons.script").addFilter(_without_traceback)
        for item in Settings.declarations():
            if item.option:
                loader.add_option(item.option, str, item.text_from(os.environ), f"{item.help} ({item.variables[0]})")

    def configure(self, updated: set[str]) -> None:
        self._is_fast_path_open = None
        options = [item.option for item in Settings.declarations() if item.option]
        if updated.isdisjoint((*options, "mode", "listen_host", "listen_port")):
            return
        try:
            texts = {name: getattr(ctx.options, name) for name in options}
            settings, loopback = modes.settle(ctx.options, texts)
            self._proxies = modes.proxies(ctx.options)
            session = Session(settings, texts, loopback=loopback)
        except (SettingError, StoreError) as error:
            raise exceptions.OptionsError(str(error)) from None
        self._close()
        self._session = session
        ctx.options.update(**modes.wanted_options(ctx.options, settings))

    def running(self) -> None:
        self._upkeep = asyncio.create_task(self._keep_up())

    async def _keep_up(self) -> None:
        await modes.rebind(ctx.master.addons.get("proxyserver"), ctx.options.listen_host)
        if self._session:
            await import_once(self._session)
        # Side by side: maintaining a large store may take minutes, and the counts must be saved meanwhile.
        await asyncio.gather(
            repeat(_FLUSH_SECONDS, self._flush, FailureLog("saving the counts")),
            repeat(_MAINTENANCE_SECONDS, self._maintain, FailureLog("upkeep")),
        )

    async def _flush(self) -> None:
        self._is_fast_path_open = None
        if self._session:
            await self._session.write(self._session.shared.flush, time.time())

    async def _maintain(self) -> None:
        if self._session:
            await self._session.upkeep(self._session.cache.store.maintain)

    def done(self) -> asyncio.Task[None] | None:
        """Close the store. When mitmproxy ends, it awaits the returned task, so running exchanges finish first."""
        if self._session and ctx.master.should_exit.is_set():
            return asyncio.create_task(self._end())
        self._close()
        return None

    async def _end(self) -> None:
        self._ending = True
        await drain(self.connections)
        if self._session:
            await self._session.exchanges.keeping.ended()
        self._close()

    def _close(self) -> None:
        if self._session:
            self._session.close()
            self._session = None

    # -- layers

    def next_layer(self, next_layer: NextLayer) -> None:
        if next_layer.layer is None:
            # This hook runs before mitmproxy's own, so let that one choose the layer, then replace its choice.
            ctx.master.addons.get("nextlayer").next_layer(next_layer)
        if self._session and next_layer.layer:
            chosen = interception.without_encryption(next_layer.layer, self._session.gate, self._session.unseen)
            owner = self._session.exchanges

            def make(context: Context, mode: HTTPMode) -> FastHttpLayer:
                return FastHttpLayer(
                    context, mode, owner, proxies=self._proxies, connections=self.connections, fast_path=self.fast_path
                )

            next_layer.layer = with_cache_layer(chosen, make)

    def fast_path(self) -> FastPath | None:
        """The fast path while it is open, else None."""
        if self._session is None or self._ending:
            return None
        if self._is_fast_path_open is None:
            settings = self._session.settings
            is_of_use = settings.fast_lane is Switch.AUTO and not needs_flows(ctx.options, ctx.master.addons)
            is_wanted = settings.fast_lane is Switch.ON or is_of_use
            # Samples in order and forks need every request counted, which the fast path does not do.
            is_counted = settings.samples is Samples.ORDERED or self._session.exchanges.forking is not None
            self._is_fast_path_open = is_wanted and not is_counted
        return self._session.fast_path if self._is_fast_path_open else None

    async def cache_find(self, search: Search) -> None:
        await asyncio.to_thread(search.run)

    async def cache_read_message(self, reading: Reading) -> None:
        await asyncio.to_thread(reading.run)

    def tls_clienthello(self, hello: ClientHelloData) -> None:
        if self._session:
            interception.judge_handshake(hello, self._session.gate, self._session.unseen)

    async def cache_slow_answer(self, flow: http.HTTPFlow) -> None:
        session = self._session
        if not session or not flow.response or flows.is_own_answer(flow):
            return
        try:
            await session.exchanges.slow_answer(flow, flow.response)
            session.helpers.listen(flow)
        except Exception:
            logger.exception("the cache failed; the answer is passed on once it is complete")

    async def cache_next_chunk(self, feed: Feed) -> None:
        await replayer.next_chunk(feed)

    def client_connected(self, client: Client) -> None:
        raise_upstream_limit(ctx.master.addons.get("proxyserver"), client)
        if self._session and not modes.is_allowed(client, loopback=self._session.loopback):
            client.error = "this proxy only serves its own machine"

    async def client_disconnected(self, client: Client) -> None:
        if self._session:
            await self._session.exchanges.client_left(client.id)

    def http_connect_upstream(self, flow: http.HTTPFlow) -> None:
        """Authenticate to the forward proxy that the environment names. mitmproxy's own option for the credentials
        would show them in the list of processes."""
        self._proxies.authorize(flow.server_conn.address, flow.request.headers)

    # -- flows: a hook keeps the session that it began with, which may be closed or replaced while it waits

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if not self._session or flow.response or flow.error or not flow.live:
            return
        if not self._session.gate.concerns(flow):
            interception.pass_by(flow, self._session.unseen)
            return
        try:
            if self._ending:
                raise RequestError(503, "The cache is shutting down; ask again in a moment.", code="shutting_down")
            if not self._session.gate.admit(flow, self._session.helpers):
                self._session.exchanges.pass_by(flow)
                self._session.unseen.watch(flow)
        except RequestError as error:
            self._session.exchanges.refuse(flow, error)
        except Exception:
            logger.exception("the guard failed; the request is refused")
            self._session.exchanges.refuse(flow, RequestError(500, "The cache's guard failed; see its log."))

    async def request(self, flow: http.HTTPFlow) -> None:
        session = self._session
        if not session or flow.response or flow.error or not session.gate.concerns(flow):
            return
        try:
            if not (await self._answer_locally(flow, session) or await session.helpers.answer(flow)):
                await session.exchanges.request(flow)
                if flow.response is None:
                    await sign_anew(flow, session.settings)
        except RequestError as error:
            session.exchanges.refuse(flow, error)
        except Exception:
            logger.exception("the cache failed; the request goes upstream without it, if it may")
            if flow.response is None:
                session.exchanges.fault(flow)

    async def _answer_locally(self, flow: http.HTTPFlow, session: Session) -> bool:
        """Answer a request to one of the proxy's own routes; False if it is for something else."""
        if not flows.is_addressed_to_proxy(flow):
            return False
        try:
            answer = await session.local.answer(flow)
        except RequestError as error:
            responses.refuse(flow, error, session.settings)
            return True
        except Exception:  # it is for nobody else: it may hold the cache's own token
            logger.exception("the cache failed to answer a request to itself")
            failure = RequestError(500, "The cache failed to answer; see its log.")
            responses.refuse(flow, failure, session.settings)
            return True
        if answer:
            flows.answer(flow, answer)
        return answer is not None

    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        session = self._session
        if not session or not flow.response:
            return
        if not session.gate.concerns(flow):
            flow.response.stream = flow.response.stream or bool(flow.request.stream)
            return
        if not flows.is_own_answer(flow):
            try:
                await session.exchanges.response_headers(flow)
                session.helpers.listen(flow)
            except Exception:
                logger.exception("the cache failed; the answer is passed on and not recorded")
        session.gate.allow_page(flow, flow.response)

    async def response(self, flow: http.HTTPFlow) -> None:
        session = self._session
        if session and not flow.live:
            await session.loaded.take(flow)
            return
        if not session or not session.gate.concerns(flow):
            return
        try:
            await session.exchanges.response(flow)
            await session.helpers.record(flow)
        except Exception:
            logger.exception("the cache failed; the answer was not recorded")
        forwarding.forget_credentials(flow, session.settings)

    async def error(self, flow: http.HTTPFlow) -> None:
        session = self._session
        if not session or not session.gate.concerns(flow):
            return
        try:
            session.helpers.forget(flow)
            await session.exchanges.error(flow)
        except Exception:
            logger.exception("the cache failed while an exchange ended")
        forwarding.forget_credentials(flow, session.settings)
