"""SigV4: whose a signature is, what an intercepted request keeps because of it, and how it is made anew."""

from __future__ import annotations

import asyncio
import builtins
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from computer_use_cache.credentials import aws, caller
from computer_use_cache.errors import RequestError
from computer_use_cache.proxy import forwarding
from computer_use_cache.proxy.admission import Gate
from computer_use_cache.proxy.helper_routes import HelperRoutes
from computer_use_cache.proxy.signing import sign_anew
from computer_use_cache.settings import Settings

URL = "https://bedrock-runtime.eu-central-1.amazonaws.com"
PATH = "/model/eu.anthropic.claude-x%3A0/converse"
BODY = b'{"messages":[]}'
SETTINGS = Settings.load({"UPSTREAM_BASE_URL": URL})
OWN = {"AWS_ACCESS_KEY_ID": "AKIA" + "OWNS" * 4, "AWS_SECRET_ACCESS_KEY": "own" * 3, "AWS_SESSION_TOKEN": "t" * 9}
SIGNED = (
    f"AWS4-HMAC-SHA256 Credential=AKIA{'X' * 16}/20260101/us-east-1/bedrock/aws4_request, "
    "SignedHeaders=accept-encoding;host;x-amz-date;x-cache-mode;x-cache-admin-token, Signature=00"
)


def flow(authorization: str, mode: str = f"reverse:{URL}", **headers: str) -> Any:
    made = tflow.tflow()
    made.client_conn.proxy_mode = ProxyMode.parse(mode)
    made.request.method, made.request.path, made.request.content = "POST", PATH, BODY
    sent = {"host": URL.removeprefix("https://"), "authorization": authorization, "x-amz-security-token": "theirs"}
    made.request.headers.clear()
    for name, value in (sent | {name.replace("_", "-"): value for name, value in headers.items()}).items():
        made.request.headers[name] = value
    return made


@pytest.fixture(autouse=True)
def own_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)


def test_a_request_to_aws_is_signed_anew_for_the_upstreams_host_and_region() -> None:
    signed = flow(SIGNED)
    asyncio.run(sign_anew(signed, SETTINGS))
    headers = signed.request.headers
    signature = aws.signature({"authorization": headers["authorization"]})
    assert signature is not None
    assert (signature.access_key_id, signature.region, signature.service) == (
        OWN["AWS_ACCESS_KEY_ID"],
        "eu-central-1",
        "bedrock",
    )
    assert headers["x-amz-security-token"] == OWN["AWS_SESSION_TOKEN"]
    assert headers["authorization"] == expected(headers["x-amz-date"])
    assert signed.request.content == BODY


def expected(date: str) -> str:
    """The header that the verifying side computes."""
    request = AWSRequest("POST", URL + PATH, data=BODY)
    request.context["timestamp"] = date
    request.headers["X-Amz-Date"] = date
    request.headers["X-Amz-Security-Token"] = OWN["AWS_SESSION_TOKEN"]
    auth = SigV4Auth(Credentials(*OWN.values()), "bedrock", "eu-central-1")
    scope = auth.scope(request)
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    signed = "host;x-amz-date;x-amz-security-token"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={signed}, Signature={signature}"


@pytest.mark.parametrize(
    ("authorization", "mode", "upstream"),
    [
        pytest.param("Bearer " + "b" * 9, f"reverse:{URL}", URL, id="a key"),
        pytest.param(SIGNED, "regular", URL, id="intercepted"),
        pytest.param(SIGNED, "reverse:http://127.0.0.1:1", "http://127.0.0.1:1", id="not to AWS"),
    ],
)
def test_other_requests_pass_as_they_are(authorization: str, mode: str, upstream: str) -> None:
    passing = flow(authorization, mode)
    before = passing.request.copy()
    asyncio.run(sign_anew(passing, Settings.load({"UPSTREAM_BASE_URL": upstream})))
    assert passing.request.headers == before.headers


def test_without_botocore_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any) -> Any:
        if name.startswith("botocore"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(RequestError, match=r"pip install '\.\[bedrock\]'"):
        asyncio.run(sign_anew(flow(SIGNED), SETTINGS))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param("credential_process = false\n", id="a program that fails"),
        pytest.param(
            "sso_start_url = https://sso.example\nsso_region = us-east-1\nsso_account_id = 1\nsso_role_name = r\n",
            id="nobody has logged in",
        ),
    ],
)
def test_credentials_that_cannot_be_had_are_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: str
) -> None:
    for name in OWN:
        monkeypatch.delenv(name)
    config = tmp_path / "config"
    config.write_text(f"[default]\n{settings}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with pytest.raises(RequestError, match="credentials cannot be read"):
        asyncio.run(sign_anew(flow(SIGNED), SETTINGS))


@pytest.mark.parametrize(("authorization", "is_streamed"), [(SIGNED, False), ("Bearer " + "b" * 9, True)])
def test_a_body_that_is_signed_anew_is_not_streamed(authorization: str, is_streamed: bool) -> None:
    passing = flow(authorization, user_agent="client")
    passing.live, passing.request.path = True, PATH.replace("converse", "async-invoke")
    passing.client_conn.sockname = passing.client_conn.peername = ("127.0.0.1", 1)
    passing.request.headers["host"] = "127.0.0.1:1"
    shared = SimpleNamespace(cache=None)
    Gate(SETTINGS, loopback=True).admit(passing, HelperRoutes(cast("Any", shared)))
    assert bool(passing.request.stream) is is_streamed


def test_an_intercepted_request_keeps_the_headers_that_are_signed() -> None:
    controls = {"x_cache_mode": "refresh", "x_cache_ttl": "9", "x_cache_admin_token": "t", "accept_encoding": "gzip"}
    kept = flow(SIGNED, "regular", **controls)
    forwarding.prepare_to_forward(kept, SETTINGS)
    forwarding.ask_for_plain_bytes(kept)
    headers = kept.request.headers
    assert (headers["accept-encoding"], headers["x-cache-mode"]) == ("gzip", "refresh")
    assert "x-cache-ttl" not in headers
    assert "x-cache-admin-token" not in headers


def test_the_key_behind_a_signature_is_the_caller_and_no_flow_keeps_its_token() -> None:
    first, second = ({"authorization": SIGNED.replace("=00", f"={n}"), "x-amz-date": n} for n in ("1", "2"))
    assert caller.of_caller(first, ()) == caller.of_caller(second, ())
    assert caller.of_caller(first | {"x-amz-security-token": "t"}, ()) != caller.of_caller(first, ())
    done = flow(SIGNED)
    forwarding.forget_credentials(done, SETTINGS)
    assert {"authorization", "x-amz-security-token"}.isdisjoint(done.request.headers)
