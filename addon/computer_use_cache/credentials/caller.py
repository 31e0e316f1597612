"""Who the caller is: the credential that a request carries, and the digest that may stand for it in a key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from computer_use_cache.credentials import aws
from computer_use_cache.formats import FORMATS, query_names
from computer_use_cache.models import Query

CARRIERS = tuple(dict.fromkeys(("authorization", *(format.credential_header for format in FORMATS), "api-key")))
"""Headers in which clients send their credential; the last one is Azure's."""


def of_caller(headers: Mapping[str, str], query: Query) -> str:
    """The caller's credential, wherever the API carries it; "" without one. Never store or log it.

    A signature is another one for each request: the key that it was made with stands for it.
    """
    if signature := aws.signature(headers):
        return f"{signature.access_key_id} {headers.get(aws.TOKEN_HEADER, '')}"
    for name in CARRIERS:
        if value := headers.get(name):
            return without_scheme(value)
    sent = {query_names.snake(name): value for name, value in query if value}
    return next((sent[name] for name in query_names.CALLERS if name in sent), "")


def without_scheme(value: str) -> str:
    """The token of an Authorization header. The scheme's case does not matter (RFC 9110, section 11.1)."""
    return re.sub(r"^bearer +", "", value, flags=re.IGNORECASE).strip()


def digest(credential: str) -> str:
    """The digest that stands for a credential in a key."""
    return hashlib.sha256(b"computer-use-cache caller\0" + credential.encode("utf-8", "surrogatepass")).hexdigest()
