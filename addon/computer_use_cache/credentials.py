"""Does a text hold a credential, and who is the caller: the two questions about secrets, answered without keeping any.

The rules are detect-secrets' (the ones that know a credential by its form; the ones that guess from words or entropy
would refuse every prompt that talks about passwords), and the key forms of the model providers, which it lacks.
"""

from __future__ import annotations

import functools
import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from computer_use_cache.models import Query

_GUESSED = frozenset(
    {
        "Artifactory Credentials",
        "Public IP (ipv4)",
        "Cloudant Credentials",
        "IBM Cloud IAM Key",
        "IBM COS HMAC Credentials",
        "SoftLayer Credentials",
    }
)
"""No credential, found in plain words too, or known by a variable's name only. Those also take the most time."""

_PROVIDER_KEYS = (
    ("Anthropic API key", re.compile(r"\bsk-ant-[a-z0-9]+-[A-Za-z0-9_-]{40,}")),
    ("OpenRouter API key", re.compile(r"\bsk-or-v1-[0-9a-f]{40,}")),
    ("GitHub Token", re.compile(r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b")),
    ("Google API key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b")),
)

_DATA_URL = re.compile(r"data:[a-z]+/[\w.+-]+;base64,")

_SUSPECT = re.compile(r"[\w+/=.-]{16}|://|PRIVATE KEY|xox")
"""What a line holds that any of the rules could fire on: a long word, or the start of one of the few short forms."""

_LONGEST_WORD = 4096
"""A string with no white space in its first so many characters is encoded data (an image, audio, a file), not prose."""


@functools.cache
def _rules() -> tuple[tuple[str, re.Pattern[str]], ...]:
    # detect-secrets takes an eighth of a second to import, which `version` must not wait for.
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class  # noqa: PLC0415
    from detect_secrets.plugins.base import RegexBasedDetector  # noqa: PLC0415

    detectors: dict[str, type[Any]] = get_mapping_from_secret_type_to_class()
    found = [
        (name, pattern)
        for name, detector in sorted(detectors.items())
        if issubclass(detector, RegexBasedDetector) and name not in _GUESSED
        for pattern in detector().denylist
    ]
    return (*found, *_PROVIDER_KEYS)


def find(body: Mapping[str, Any]) -> str | None:
    """The kind of the first credential in any text of a request's body ("GitHub Token"), or None.

    Takes up to 0.15 ms a kilobyte: call it off the event loop.
    """
    from detect_secrets.filters.heuristic import is_templated_secret  # noqa: PLC0415

    lines = (line for text in _texts(body) for line in text.splitlines())
    text = "\n".join(line for line in lines if _SUSPECT.search(line))
    if not text:
        return None
    for kind, pattern in _rules():
        if any(not is_templated_secret(match[match.lastindex or 0]) for match in pattern.finditer(text)):
            return kind
        time.sleep(0)  # a regular expression holds the interpreter; between two of them others may run
    return None


def _texts(value: object) -> Iterator[str]:
    pending = [value]
    while pending:
        match pending.pop():
            case str() as text if not _is_encoded_data(text):
                yield text
            case list() as items:
                pending.extend(items)
            case dict() as members:
                pending.extend(members.values())


def _is_encoded_data(text: str) -> bool:
    if _DATA_URL.match(text):
        return True
    return len(text) > _LONGEST_WORD and not re.search(r"\s", text[:_LONGEST_WORD])


CARRIERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
"""Headers in which clients send their credential."""


def of_caller(headers: Mapping[str, str], query: Query) -> str:
    """The caller's credential as the API carries it, "" when there is none. Never store or log it."""
    for name in CARRIERS:
        if value := headers.get(name):
            return without_scheme(value)
    return dict(query).get("key", "")


def without_scheme(value: str) -> str:
    """The token of an Authorization header; the scheme's case does not matter (RFC 9110, section 11.1)."""
    return re.sub(r"^bearer +", "", value, flags=re.IGNORECASE).strip()


def digest(credential: str) -> str:
    """What of a credential may enter a key."""
    return hashlib.sha256(b"computer-use-cache caller\0" + credential.encode("utf-8", "surrogatepass")).hexdigest()
