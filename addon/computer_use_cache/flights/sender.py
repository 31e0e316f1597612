"""Whose credentials a request carries. They are not always part of its key, but the upstream's answer may be about
them, or repeat them."""

from __future__ import annotations

from typing import NamedTuple, Self

from computer_use_cache.cache.plan import Plan
from computer_use_cache.credentials import caller


class Sender(NamedTuple):
    """Digests of a request's credentials: those of the caller's account, and those in the body. Each is "" for none."""

    account: str
    body: str

    @classmethod
    def of(cls, plan: Plan) -> Self:
        headers = plan.route.request.headers
        credential = caller.of_caller(headers, plan.route.request.query)
        account = (credential, *(headers.get(name, "") for name in plan.format.account_headers))
        return cls(*(caller.digest("\0".join(found)) if any(found) else "" for found in (account, plan.credentials)))


NO_CREDENTIALS = Sender("", "")
