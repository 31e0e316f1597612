"""Canonical JSON of request bodies: object keys sorted, array order kept, numbers equal in value written alike.

Strings are compared by code point. A body with the same member twice has no canonical form."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import msgspec
import orjson

from computer_use_cache.errors import FormatError, RequestError

_INT64 = range(-(2**63), 2**64)


def parse_body(body: bytes) -> dict[str, Any]:
    """The request's JSON object; its fractional numbers are `orjson.Fragment`s of their canonical text.

    Raises RequestError (400) when the body is not a JSON object, and FormatError for JSON that has no
    canonical form here: nested too deeply, with a number that Python cannot hold, or with a member twice (RFC 8259,
    section 4: readers differ on which one counts, so the key could stand for another request than the provider read).
    """
    try:
        value = _QUICK_DECODER.decode(body)
        if isinstance(value, dict) and _has_each_member_once(body, orjson.dumps(value)):
            return value
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, ValueError, RecursionError, InvalidOperation):
        pass  # it is not JSON, or needs the slow way, which says why it refuses what it refuses
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
    """Whether nothing of a body was lost when it was read, `written` being what was read of it; False where in doubt.

    SDKs write it as it is written here, but for fractions. Else: each member has a colon, and those inside of texts are
    the same in both, unless one is escaped. Whoever escapes more than must be, as JSON is written here, has more
    backslashes.
    """
    return body == written or (
        _count(body, b":") == _count(written, b":")
        and (b"\\" not in body or _count(body, b"\\") == _count(written, b"\\"))
    )


def _count(text: bytes, char: bytes) -> int:
    """What `text.count(char)` is; that one looks at every byte, while this one leaps over a screenshot (memchr)."""
    return len(text) - len(text.replace(char, b""))


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) < len(members):
        raise FormatError("a member is there twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


def _canonical_fraction(text: str) -> int | orjson.Fragment:
    """A number written with a fraction or an exponent: an int where it is one, else sign, digits and exponent."""
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
"""It takes the last of a member's values, and gives up lone surrogates."""

_DECODER = json.JSONDecoder(parse_float=_canonical_fraction, parse_constant=_refuse_constant, object_pairs_hook=_object)


def canonical(value: object) -> bytes:
    """Canonical JSON of a value made by `parse_body`. Raises FormatError when it is nested too deeply."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # orjson refuses integers beyond 64 bits, lone surrogates and deep nesting: the slow way takes those,
        # and gives the same bytes as orjson for everything else.
        try:
            return b"".join(_canonical_pieces(value))
        except RecursionError:
            raise FormatError("nested too deeply") from None


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
