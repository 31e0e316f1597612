"""What `run` and `stats` say about model calls that were not cached because of where they went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from computer_use_cache.accounting.statistics import Unseen

_MOST_CALLS, _MOST_HOSTS = 5, 5


def since(before: Iterable[Unseen], after: Iterable[Unseen]) -> list[Unseen]:
    """What was added to the counts."""
    counted = {(one.host, one.route, one.setting): one.count for one in before}
    grown = ((one, one.count - counted.get((one.host, one.route, one.setting), 0)) for one in after)
    return [Unseen(one.host, one.route, one.setting, more) for one, more in grown if more > 0]


def lines(counted: Iterable[Unseen]) -> Iterator[str]:
    """A line per route, the most called first, and one for all hosts whose connections were not decrypted."""
    most_first = sorted(counted, key=lambda one: -one.count)
    calls, hosts = [one for one in most_first if one.route], [one.host for one in most_first if not one.route]
    for one in calls[:_MOST_CALLS]:
        cure = f": {one.setting} would cache it" if one.setting else ""
        yield f"not cached: {one.count:,} x {one.route} at {one.host}{cure}"
    if len(calls) > _MOST_CALLS:
        yield f"not cached: calls of {len(calls) - _MOST_CALLS} other routes"
    if hosts:
        yield f"passed unseen: {_some(hosts)}; CACHE_HOSTS=+HOST would cache a model API"


def _some(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - _MOST_HOSTS} more" if len(hosts) > _MOST_HOSTS else ""
    return ", ".join(hosts[:_MOST_HOSTS]) + more
