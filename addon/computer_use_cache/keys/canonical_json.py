"""Canonical JSON of request bodies: object keys are sorted, arrays keep their order, equal numbers are written alike.

Strings compare by code point. A body with a duplicate member has no canonical form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import msgspec
import orjson

from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats.base import dump
from computer_use_cache.memory import trimmed

_INT64 = range(-(2**63), 2**64)


def parse_body(body: bytes) -> dict[str, Any]:
    """Parse a request's JSON object. Fractional numbers become `orjson.Fragment`s of their canonical text.

    Raises RequestError (400) if the body is not a JSON object, and FormatError if it has no canonical form: it is
    nested too deeply, holds a number that Python cannot represent, or repeats a member. Parsers disagree on which
    duplicate counts (RFC 8259, section 4), so the key could describe a request that the provider reads differently.
    """
    try:
        value = _QUICK_DECODER.decode(body)
        if isinstance(value, dict) and _has_each_member_once(body, orjson.dumps(value)):
            return value
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, ValueError, RecursionError, InvalidOperation):
        pass  # not JSON, or only the slow decoder can read it; that one also says why it refuses a body
    try:
        value = _DECODER.decode(body.decode())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RequestError(400, f"The request body is not valid JSON: {error}") from None
    except (ValueError, InvalidOperation):
        raise FormatError("a number has too many digits") from None
    except RecursionError:
        raise FormatError("nested too deeply") from None
    if not isinstance(value, dict):
        raise RequestError(400, "The request body must be a JSON object.")
    return value


def _has_each_member_once(body: bytes, written: bytes) -> bool:
    """True if decoding `body` dropped no duplicate member; `written` is the decoded body, re-encoded. False if unsure.

    The common case is equality: SDKs write JSON as orjson does, except for fractions. Otherwise a dropped member shows
    as a missing colon, unless strings gained one: orjson writes a colon as itself, `body` may have it as an escape.
    """
    return body == written or (
        _count(body, b":") == _count(written, b":") and not any(escape in body for escape in (rb"\u003a", rb"\u003A"))
    )


def _count(text: bytes, char: bytes) -> int:
    """`text.count(char)`, faster on screenshots: replace() skips long runs with memchr, count() visits every byte."""
    return len(text) - len(text.replace(char, b""))


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) < len(members):
        raise FormatError("a member occurs twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


def _canonical_fraction(text: str) -> int | orjson.Fragment:
    """A number written with a fraction or an exponent: an int if its value is one, else sign, digits and exponent."""
    sign, digit_tuple, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int), "JSON has no NaN"
    digits = "".join(map(str, digit_tuple))
    coefficient = digits.rstrip("0")
    exponent += len(digits) - len(coefficient)
    if not coefficient:
        return 0
    if exponent >= 0 and len(coefficient) + exponent <= 20:
        whole: int = int(coefficient) * 10**exponent * (-1 if sign else 1)
        if whole in _INT64:
            return whole
    return orjson.Fragment(_scientific(bool(sign), coefficient, exponent))


def _scientific(negative: bool, coefficient: str, exponent: int) -> bytes:
    return f"{'-' if negative else ''}{coefficient}e{exponent}".encode()


_QUICK_DECODER = msgspec.json.Decoder(float_hook=_canonical_fraction)
"""Fast, but keeps the last of duplicate members and refuses lone surrogates."""

_DECODER = json.JSONDecoder(parse_float=_canonical_fraction, parse_constant=_refuse_constant, object_pairs_hook=_object)


def canonical(value: object) -> bytes:
    """Canonical JSON of a value from `parse_body`. Raises FormatError if it is nested too deeply."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # orjson refuses integers beyond 64 bits, lone surrogates and deep nesting. The slow encoder accepts them and
        # writes everything else exactly as orjson does.
        try:
            return b"".join(_canonical_pieces(value))
        except RecursionError:
            raise FormatError("nested too deeply") from None


def write(body: dict[str, Any], plain: Callable[[], dict[str, Any]]) -> bytes:
    """A body from `parse_body` as JSON. `plain` returns it with Python's own numbers, for the slow encoder."""
    try:
        return trimmed(orjson.dumps(body))
    except TypeError:  # an integer beyond 64 bits, a lone surrogate, deep nesting
        return dump(plain())


def _canonical_pieces(value: object) -> Iterable[bytes]:
    match value:
        case dict():
            yield b"{"
            for index, name in enumerate(sorted(value)):
                yield (b"," if index else b"") + _canonical_string(name) + b":"
                yield from _canonical_pieces(value[name])
            yield b"}"
        case list():
            yield b"["
            for index, item in enumerate(value):
                yield b"," if index else b""
                yield from _canonical_pieces(item)
            yield b"]"
        case str():
            yield _canonical_string(value)
        case int() if value not in _INT64:
            digits = str(abs(value))
            coefficient = digits.rstrip("0")
            yield _scientific(value < 0, coefficient, len(digits) - len(coefficient))
        case _:
            yield orjson.dumps(value)


def _canonical_string(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")
