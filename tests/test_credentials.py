"""Credentials are found in whatever text holds them; talk about them, code, hashes and pictures are let through.

The credentials are put together at run time, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from computer_use_cache.credentials import digest, find, of_caller

CHANCE = random.Random(1)


def random_text(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(CHANCE.choices(alphabet, k=length))


HEX = string.digits + "abcdef"
UPPER = string.ascii_uppercase + string.digits

CREDENTIALS = {
    "OpenAI": "sk-" + random_text(20) + "T3Blbk" + "FJ" + random_text(20),
    "OpenAI project": "sk-proj-" + random_text(40) + "T3Blbk" + "FJ" + random_text(40),
    "Anthropic": "sk-ant-" + "api03-" + random_text(93) + "AA",
    "OpenRouter": "sk-or-" + "v1-" + random_text(64, HEX),
    "Google": "AI" + "za" + random_text(35),
    "GitHub": "gh" + "p_" + random_text(36),
    "GitHub fine-grained": "github" + "_pat_" + random_text(22) + "_" + random_text(59),
    "GitLab": "glpat" + "-" + random_text(20),
    "AWS": "AK" + "IA" + random_text(16, UPPER),
    "Slack": "xo" + "xb-" + random_text(12, string.digits) + "-" + random_text(24),
    "Stripe": "sk_" + "live_" + random_text(24),
    "SendGrid": "S" + "G." + random_text(22) + "." + random_text(43),
    "PyPI": "pypi-" + "AgEIcHlwaS5vcmc" + random_text(80),
    "JSON Web Token": ".".join(
        (
            base64.urlsafe_b64encode(json.dumps({"alg": "HS256"}).encode()).decode().rstrip("="),
            random_text(40),
            random_text(43),
        )
    ),
    "private key": "-----BEGIN RSA" + " PRIVATE KEY-----\nMII" + random_text(40),
    "OpenSSH key": "-----BEGIN OPENSSH" + " PRIVATE KEY-----\n" + random_text(40),
    "URL": "postgres://ann:" + random_text(12) + "@db.example/x",
}

PLACES: dict[str, Callable[[str], str]] = {
    "the whole text": lambda secret: secret,
    "a sentence": lambda secret: f"Use {secret} for it, please.",
    "a shell line": lambda secret: f"$ export KEY={secret}\n$ make",
    "JSON": lambda secret: json.dumps({"key": secret}),
    "after a templated one": lambda secret: f"KEY={{{{api_key}}}} KEY=<token> KEY={secret}",
}


@pytest.mark.parametrize("kind", CREDENTIALS)
@pytest.mark.parametrize("place", PLACES)
def test_a_credential_is_found_and_not_repeated(kind: str, place: str) -> None:
    secret = CREDENTIALS[kind]
    found = find({"messages": [{"role": "user", "content": PLACES[place](secret)}]})
    assert found
    assert secret not in found


SECRET = CREDENTIALS["GitHub"]


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": SECRET},
        {"input": ["a", SECRET]},
        {"messages": [{"content": [{"type": "text", "text": SECRET}]}]},
        {"messages": [{"tool_calls": [{"function": {"arguments": json.dumps({"env": SECRET})}}]}]},
        {"system": [{"text": "a"}], "tools": [{"description": SECRET}]},
        {"contents": [{"parts": [{"text": "long " * 10_000 + SECRET}]}]},
        {"prompt": "data:text/plain," + SECRET},
    ],
    ids=lambda body: next(reversed(body)),
)
def test_a_credential_is_found_wherever_the_body_has_text(body: dict[str, Any]) -> None:
    assert find(body)


PICTURE = base64.b64encode(CHANCE.randbytes(60_000)).decode()

HARMLESS = {
    "nothing": "",
    "a question": "How do I reset my password? My password manager forgot the api key.",
    "a weak password": "password: hunter2",
    "a form": "Username: ann\nPassword: ********\nAPI key: (hidden)\nSecret: none",
    "code": "api_key = os.environ['OPENAI_API_KEY']\nclient = OpenAI(api_key=api_key, token=None)",
    "a command": "curl -H 'Authorization: Bearer $OPENAI_API_KEY' https://api.openai.com/v1/models",
    "a shortened key": "keys look like sk-..., sk-ant-api03-..., ghp_xxx or AKIA...",
    "a UUID": str(uuid.UUID(int=CHANCE.getrandbits(128))),
    "hashes": "\n".join(getattr(hashlib, name)(b"x").hexdigest() for name in ("md5", "sha1", "sha256", "sha512")),
    "an upper-case hash": hashlib.sha256(b"x").hexdigest().upper(),
    "a commit": "commit " + random_text(40, HEX),
    "a lock file": '"integrity": "sha512-' + base64.b64encode(CHANCE.randbytes(64)).decode() + '"',
    "a tool call": "call_" + random_text(24) + " toolu_" + random_text(24) + " chatcmpl-" + random_text(29),
    "an address": "http://127.0.0.1:8000/v1 and http://localhost:3000/@vite/client, https://medium.com/@ann",
    "an IP": "the server is 8.8.8.8",
    "a public key": "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "times": "12:30:45 2026-01-02T03:04:05.678Z 1700000000",
    "capitals": "APARTMENTRENTALS in the city",
    "a picture": PICTURE,
    "a picture's URL": "data:image/png;base64," + PICTURE[:100] + CREDENTIALS["AWS"] + PICTURE[:100],
    "a small picture": "iVBORw0KGgo" + "A" * 40 + PICTURE[:200],
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_talk_and_data_are_not_taken_for_credentials(kind: str) -> None:
    assert find({"messages": [{"role": "user", "content": HARMLESS[kind]}]}) is None


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer {{api_key}}",
        "Authorization: Bearer <token>",
        "https://oauth2:${TOKEN}@gitlab.com/x.git",
        "https://oauth2:<token>@gitlab.com/x.git",
        "postgres://ann:{{password}}@db.example/x",
        "postgres://{{user}}:{{password}}@db.example/x",
    ],
)
def test_a_templated_credential_is_none(text: str) -> None:
    assert find({"prompt": text}) is None


def test_a_credential_after_a_templated_one_of_its_kind_is_found() -> None:
    assert find({"prompt": "postgres://ann:<password>@db.example/x or " + CREDENTIALS["URL"]})


@pytest.mark.parametrize("value", [None, True, 1, 0.5, [], {}, [[["a"]]], {"a": {"b": None}}])
def test_a_body_of_anything_can_be_searched(value: object) -> None:
    assert find({"x": value}) is None


def test_a_deeply_nested_body_is_searched() -> None:
    value: object = SECRET
    for _ in range(100_000):
        value = [value]
    assert find({"x": value})


@pytest.mark.parametrize(
    ("headers", "query", "credential"),
    [
        ({}, {}, ""),
        ({"authorization": "Bearer a"}, {}, "a"),
        ({"authorization": "bearer a"}, {}, "a"),
        ({"authorization": "a"}, {}, "a"),
        ({"x-api-key": "a"}, {}, "a"),
        ({"x-goog-api-key": "a"}, {}, "a"),
        ({"api-key": "a"}, {}, "a"),
        ({}, {"key": "a"}, "a"),
        ({"authorization": "", "x-api-key": "a"}, {}, "a"),
        ({"x-api-key": "a"}, {"key": "b"}, "a"),
        ({"cookie": "a"}, {"token": "a"}, ""),
    ],
)
def test_the_callers_credential_is_read_wherever_an_api_carries_it(
    headers: dict[str, str], query: dict[str, str], credential: str
) -> None:
    assert of_caller(headers, tuple(query.items())) == credential


def test_a_digest_tells_credentials_apart_and_shows_none() -> None:
    digests = [digest(text) for text in ("", "a", "b", "\ud800")]
    assert len(set(digests)) == 4
    assert digest("a") == digest("a")
    assert digest("a") != hashlib.sha256(b"a").hexdigest()
