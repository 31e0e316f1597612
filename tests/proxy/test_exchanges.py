"""What the exchanges of flows keep, and for how long."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

from mitmproxy.test import tflow

from computer_use_cache.exchange.result import Result
from computer_use_cache.flights.flight import Flight
from computer_use_cache.models import Outcome
from computer_use_cache.proxy.exchanges import FlowExchanges
from exchange.house import STREAM, House


def test_a_follower_that_leaves_before_its_answer_is_sent_keeps_nothing_of_the_stream(tmp_path: Path) -> None:
    house = House(tmp_path)
    exchanges, flow = FlowExchanges(house.shared), tflow.tflow(err=True)
    flight = Flight("k")
    kept = weakref.ref(flight)
    exchanges._replayer.serve_live(flow, STREAM, flight, Result(Outcome.COALESCED, "m", "k"))
    del flight
    asyncio.run(exchanges.error(flow))
    gc.collect()
    assert kept() is None
    house.store.close()


def test_a_stream_that_broke_off_keeps_nothing_of_its_exchange(tmp_path: Path) -> None:
    house = House(tmp_path)
    exchanges, flow = FlowExchanges(house.shared), tflow.tflow(resp=True, err=True)
    assert flow.response
    flow.response.stream = bytes.upper
    asyncio.run(exchanges.error(flow))
    assert flow.response.stream is True
    house.store.close()
