"""The simplest possible addon, as the baseline. For mitmdump's -s.

BENCH_BARE=stream passes streams through; anything else answers every request with a constant.
"""

import os

from mitmproxy import http

from benchmarks import traffic

ANSWER = traffic.answer()


class Constant:
    def request(self, flow: http.HTTPFlow) -> None:
        flow.response = http.Response.make(200, ANSWER, {"content-type": "application/json"})


class Stream:
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        assert flow.response
        flow.response.stream = True


addons = [Stream() if os.environ.get("BENCH_BARE") == "stream" else Constant()]
