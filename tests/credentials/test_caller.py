"""The caller's credential is read wherever an API carries it, and stands in a key as a digest only."""

from __future__ import annotations

import hashlib

import pytest

from computer_use_cache.credentials.caller import digest, of_caller


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
        ({}, {"access_token": "a"}, "a"),
        ({}, {"key": "", "subscription-key": "a"}, "a"),
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
