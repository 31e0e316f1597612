"""Signs requests to AWS anew: the caller's signature names this proxy as the host, so no upstream would accept it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mitmproxy import http

from computer_use_cache.credentials import aws
from computer_use_cache.credentials.aws import Signature
from computer_use_cache.errors import RequestError
from computer_use_cache.proxy import flows
from computer_use_cache.settings import Settings

if TYPE_CHECKING:
    from botocore.credentials import Credentials, ReadOnlyCredentials

_HOST = re.compile(r"\.amazonaws\.com(?:\.cn)?$")
_REGION = re.compile(r"\.([a-z]{2,3}(?:-[a-z]+)+-[0-9]+)\.")


async def sign_anew(flow: http.HTTPFlow, settings: Settings) -> None:
    """Replace the caller's signature with the operator's, if the flow goes from a client of this proxy to AWS.

    Raises RequestError (403, after which no client asks again) if there is nothing to sign it with.
    """
    signature = signature_to_replace(flow, settings)
    if signature is None:
        return
    found = _REGION.search(_host(settings))
    region = found[1] if found else signature.region
    await asyncio.to_thread(_sign, flow.request, _url(settings, flow), region, signature.service or "bedrock")


def signature_to_replace(flow: http.HTTPFlow, settings: Settings) -> Signature | None:
    """The caller's signature if the flow goes from a client of this proxy to AWS. Its body must not be streamed: the
    new signature, which is sent before the body, covers it."""
    if not flows.is_addressed_to_proxy(flow) or not _HOST.search(_host(settings)):
        return None
    return aws.signature(flows.lower_headers(flow.request.headers))


def _host(settings: Settings) -> str:
    return urlsplit(settings.upstream_base_url.origin).hostname or ""


def _url(settings: Settings, flow: http.HTTPFlow) -> str:
    return settings.upstream_base_url.origin + flow.request.path


def _sign(request: http.Request, url: str, region: str, service: str) -> None:
    """Slow: the credentials may come from another program or a service."""
    credentials = _credentials()
    from botocore.auth import SigV4Auth  # noqa: PLC0415  # the extra
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415

    signed = AWSRequest(request.method, url, data=request.raw_content or b"")
    SigV4Auth(credentials, service, region).add_auth(signed)
    request.headers.pop(aws.TOKEN_HEADER, None)
    for name, value in signed.headers.items():
        request.headers[name] = value


def _credentials() -> ReadOnlyCredentials:
    """The operator's credentials, found as all of AWS's own tools find them."""
    why = "This cache has to sign the request for AWS again, because the signature it came with names the cache's host."
    instead = "Or use a Bedrock API key (AWS_BEARER_TOKEN_BEDROCK), or `computer-use-cache run`, which changes no host."
    try:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415  # the extra
        from botocore.session import Session  # noqa: PLC0415
    except ImportError:
        message = f"{why} Install botocore where it runs (pip install '.[bedrock]'). {instead}"
        raise RequestError(403, message) from None
    try:
        credentials: Credentials | None = Session().get_credentials()
        frozen = credentials and credentials.get_frozen_credentials()  # may ask a service for new ones
    except BotoCoreError as error:
        raise RequestError(403, f"{why} Its own AWS credentials cannot be read: {error}. {instead}") from None
    if frozen is None:
        message = f"{why} It has no AWS credentials of its own: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
        raise RequestError(403, f"{message}AWS_SECRET_ACCESS_KEY, where it runs. {instead}")
    return frozen
