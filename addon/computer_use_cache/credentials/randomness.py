"""Tells random text from words: what follows `password =` is a secret, an identifier, a placeholder or a sentence.

Generators make credentials. In them, digits and cases change every other character; in an identifier, a path or a
version, only where a word begins. A weak password that is a word is not found, because the word "password" itself looks
the same.
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote

_PLACEHOLDER = re.compile(
    r"(?i)example|placeholder|change_?me|dummy|redacted|sample|insert|replace|\byour|\bmy[_-]|\bsome[_-]|fake|xxxx"
    r"|\.\.\.|\*\*\*|deadbeef|(.)\1{5}"
)
_SEQUENCE = re.compile(r"(?i)0?12345(?:6(?:7(?:8(?:90?)?)?)?)?|abcdef(?:gh[i-z]*)?")
_MEANT = 16
"""A value with this many characters besides a sequence may still be a credential."""
_DOCUMENTED = re.compile(
    r"2YotnFZF|tGzv3JOk|czZCaGRS|7Fjfp0ZB|SplxlOBe|mF_9\.B5f|IkpvaG4gRG9lI|eyJzb21lIjoicGF5bG9hZCJ9|4eC39HqL|BQokikJO|ABC-DEF1234ghIkl"
)
"""Beginnings of the tokens in the RFCs on OAuth and in the documentation of JSON Web Tokens, Stripe and Telegram."""
_WEAK_LOGINS = frozenset(("hunter2", "letmein", "mypass", "mypassword", "passwd", "password", "postgres", "secret"))
_SEPARATOR = re.compile(r"[./:_,-]+")
_RUN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX = re.compile("[0-9A-Fa-f]+")
_BETWEEN_LETTERS = re.compile(r"(?<=[A-Za-z])[0-9]+(?=[A-Za-z])")

_CLASSES = ("[a-z]", "[A-Z]", "[0-9]", r"[^\w\s./:,-]")
_SHORTEST_RANDOM = 10
_COMMON_PAIRS = (
    "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri ro ic "
    "ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot il tr ly nc et ut ss so rs un "
    "lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts mo ow pa im mi ai sh ir su id os iv ia am fi ci vi pl ig tu ev "
    "ld ry mp fe bl ab gh ty op wo sa ay ex ke ui ag od up da ap ck rd ks ys gi bo ef"
)
"""Pairs of letters that make up three quarters of words, and a quarter of random letters."""
_LEAST_PAIRS = 6
_MOST_COMMON = 0.4


def is_placeholder(text: str) -> bool:
    """True for a value with a word in it that documentation puts in a credential's place."""
    return bool(_PLACEHOLDER.search(text) or _DOCUMENTED.search(text))


def _is_sequence(text: str) -> bool:
    """True for `abc123` and the like."""
    without = _SEQUENCE.sub("", text)
    letters = [char for char in text.lower() if char.isalpha()]
    digits = [char for char in text if char.isdigit()]
    return (without != text and len(without) < _MEANT) or (letters == sorted(letters) and digits == sorted(digits))


def looks_random(text: str) -> bool:
    """True if a generator made this text."""
    if is_placeholder(text) or _is_sequence(text) or len(set(text)) < 7:
        return False
    if _UUID.fullmatch(text):
        return True
    longest = max(_SEPARATOR.split(re.sub(r"[^A-Za-z0-9./:_,-]", "", text)), key=len)
    runs = len(_RUN.findall(longest))
    if len(longest) < _SHORTEST_RANDOM:
        return all(re.search(each, text) for each in _CLASSES) and len(longest) <= 2.2 * runs
    if len(_BETWEEN_LETTERS.findall(longest)) >= 2 and len(longest) <= 3.8 * runs:
        return True
    return len(longest) <= 2.7 * runs or _is_unpronounceable(_SEPARATOR.sub("", text))


def is_random_key(text: str) -> bool:
    """True for generated text that is not a hash. Under a label such as `GPG_KEY`, a hash is a fingerprint."""
    return looks_random(text) and not _HEX.fullmatch(text)


def _is_unpronounceable(text: str) -> bool:
    pairs = re.findall("(?=([a-z]{2}))", text.lower())
    common = sum(pair in _COMMON_PAIRS for pair in pairs)
    return len(pairs) >= _LEAST_PAIRS and common <= len(pairs) * _MOST_COMMON


def is_login(text: str) -> bool:
    """True if `user:password` holds a password that somebody would mind losing."""
    user, _, password = unquote(text).partition(":")
    if len(password) < 6 or password == user or password.lower() in _WEAK_LOGINS or is_placeholder(password):
        return False
    return looks_random(password) or bool(re.search("[A-Za-z]", password) and re.search("[0-9]", password))


def is_basic_auth(text: str) -> bool:
    """True if the base64 of `user:password` holds such a password."""
    try:
        login = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return False
    return ":" in login and login.isprintable() and is_login(login)
