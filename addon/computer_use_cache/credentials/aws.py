"""AWS's signature (SigV4) in a request's Authorization header: whose it is, and what it covers.

Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-authentication-methods.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

SCHEME = "AWS4-HMAC-SHA256"
TOKEN_HEADER = "x-amz-security-token"  # noqa: S105  # its name
"""Where temporary credentials carry their session token."""

_SCOPE = re.compile(r"Credential=([^/,\s]+)/[0-9]+/([^/,\s]+)/([^/,\s]+)/aws4_request")
_SIGNED = re.compile(r"SignedHeaders=([^,\s]+)")


class Signature(NamedTuple):
    """What a signature says about itself, each "" or empty where it does not: it may be malformed."""

    access_key_id: str
    region: str
    service: str
    signed_headers: frozenset[str]
    """The headers that it covers, in lower case: the upstream refuses the request if one of them is changed."""


def signature(headers: Mapping[str, str]) -> Signature | None:
    """The signature of a request with these lower-case headers; None if it has none."""
    value = headers.get("authorization", "")
    if not value.startswith(SCHEME):
        return None
    scope, signed = _SCOPE.search(value), _SIGNED.search(value)
    access_key_id, region, service = scope.groups() if scope else ("", "", "")
    return Signature(access_key_id, region, service, frozenset(signed[1].lower().split(";") if signed else ()))
