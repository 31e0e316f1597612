"""Credentials that are recognised by their form or by the label before them, where redact-secret's rules have none.

redact-secret knows the forms of some 120 providers. These patterns add the ones it lacks or takes too narrowly, and
everything that is a secret only because of its label (`DB_PASSWORD=`, `Authorization: Bearer`, `user:password@host`):
its own rule for labels mistakes identifiers for secrets (`token = access_token`), so requests with code would never be
cached.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from computer_use_cache.credentials.randomness import is_basic_auth, is_login, is_random_key, looks_random


class Secret(NamedTuple):
    """A credential in a text, from `start` up to `end`."""

    kind: str
    start: int
    end: int


_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

_FORMS = (
    ("1Password secret key", "A3-", r"[A-Z0-9]{6}-[A-Z0-9]{6}(?:-[A-Z0-9]{5}){4}"),
    ("1Password service account token", "ops_eyJ", r"[A-Za-z0-9+/=_-]{100,}"),
    ("Adobe client secret", "p8e-", r"[A-Za-z0-9_-]{32}"),
    ("age secret key", "AGE-SECRET-KEY-1", r"[0-9A-Z]{58}"),
    ("Airtable token", r"pat[A-Za-z0-9]{14}\.", "[0-9a-f]{64}"),
    ("Alibaba access key", "LTAI[A-Za-z0-9]{8}", "[A-Za-z0-9]{9,13}"),
    ("Anthropic API key", "sk-ant-", r"[a-z0-9]{2,12}-[A-Za-z0-9_-]{40,}"),
    ("Artifactory token", "AKCp", r"[A-Za-z0-9]{69}"),
    ("Artifactory token", "cmVmdGtu", r"[A-Za-z0-9]{56}"),
    ("Atlassian token", "AT[AC]TT3", r"[A-Za-z0-9_=-]{60,}"),
    ("Bitbucket app password", "ATBB", r"[A-Za-z0-9]{32}"),
    ("Brevo API key", "xkeysib-", r"[0-9a-f]{64}-[A-Za-z0-9]{16}"),
    ("Contentful token", "CFPAT-", r"[A-Za-z0-9_-]{43}"),
    ("Discord bot token", r"[MNO][A-Za-z0-9_-]{23,27}\.", r"[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}"),
    ("Discord webhook", r"https://[a-z.]*discord(?:app)?\.com/api/webhooks/", r"[0-9]{15,20}/[A-Za-z0-9_-]{60,}"),
    ("Dropbox token", r"sl\.(?:u\.)?[A-Za-z0-9_-]{16}", "[A-Za-z0-9_-]{84,}"),
    ("EasyPost API key", "EZ[AT]K", r"[A-Za-z0-9]{54}"),
    ("Facebook access token", "EAA[A-Za-z0-9]{16}", "[A-Za-z0-9]{64,}"),
    ("Figma token", "fig(?:d|or|our)_", r"[A-Za-z0-9_-]{38,}"),
    ("Flutterwave secret key", "FLWSECK", r"(?:_TEST)?-[0-9a-zA-Z]{32}-X"),
    ("GitHub token", "github_pat_", r"[A-Za-z0-9_]{60,}"),
    ("Google OAuth token", r"ya29\.", r"[A-Za-z0-9_.-]{30,}"),
    ("Google refresh token", "1//0", r"[A-Za-z0-9_-]{40,}"),
    ("Grafana API key", "eyJrIjoi", r"[A-Za-z0-9+/]{40,}={0,2}"),
    ("HubSpot token", "pat-(?:na|eu|ap)", rf"[0-9]-{_UUID}"),
    ("Jina API key", "jina_", r"[A-Za-z0-9_-]{40,}"),
    ("LaunchDarkly key", "(?:sdk|api)-[0-9a-f]{8}-", _UUID.partition("-")[2]),
    ("Mailgun API key", "key-[0-9a-f]{8}", "[0-9a-f]{24}"),
    ("Microsoft Entra client secret", r"[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{8}", "[A-Za-z0-9_~.-]{23,29}"),
    ("Neon API key", "napi_", "[a-z0-9]{40,}"),
    ("Notion token", "secret_[A-Za-z0-9]{12}", "[A-Za-z0-9]{31}"),
    ("Notion token", "ntn_", r"[A-Za-z0-9]{40,50}"),
    ("NuGet API key", "oy2", r"[a-z0-9]{43}"),
    ("OpenAI API key", "sk-(?:proj|svcacct|admin)-", r"[A-Za-z0-9_-]{40,}"),
    ("Plaid token", "access-(?:sandbox|development|production)-", _UUID),
    ("PlanetScale token", "pscale_(?:tkn|pw|oauth)_", r"[A-Za-z0-9=._-]{32,}"),
    ("Prefect API key", "pn[ub]_", r"[A-Za-z0-9]{36}"),
    ("Render API key", "rnd_[A-Za-z0-9]{12}", "[A-Za-z0-9]{16,}"),
    ("Sentry token", "sntry[su]_", r"[A-Za-z0-9+/=_-]{40,}"),
    ("Shippo API token", "shippo_(?:live|test)_", r"[0-9a-f]{40}"),
    ("Shopify token", "shp(?:at|ca|pa|ss|tka|ua)_", r"[0-9a-fA-F]{32}"),
    ("Slack webhook", r"https://hooks\.slack\.com/", r"(?:services|workflows|triggers)/[A-Za-z0-9+/]{30,}"),
    ("Square token", "sq0(?:atp|csp)-", r"[A-Za-z0-9_-]{22,43}"),
    ("Tailscale key", "tskey-[a-z]+-", r"[A-Za-z0-9]{8,}-[A-Za-z0-9]{16,}"),
    ("Tencent secret id", "AKID", r"[A-Za-z0-9]{32}"),
    ("Terraform Cloud token", r"[A-Za-z0-9]{14}\.atlasv1\.", r"[A-Za-z0-9_=-]{60,}"),
    ("Twilio API key", "SK[0-9a-f]{8}", "[0-9a-f]{24}"),
    ("Typeform token", "tfp_", r"[A-Za-z0-9._=-]{44,}"),
    ("Vercel token", "vercel_blob_rw_", r"[A-Za-z0-9]{8,}_[A-Za-z0-9]{20,}"),
    ("Vault token", r"s\.[A-Za-z0-9]{12}", "[A-Za-z0-9]{12}"),
    ("key of a model's provider", "sk-[A-Za-z0-9]{12}", "[A-Za-z0-9]{20,}"),
    (
        "prefixed key",
        r"[a-z][a-z0-9]{1,9}[_-](?:live|test|prod|api|key|token|secret|sk|pat|tkn|admin|v[0-9])[_-][A-Za-z0-9]{12}",
        "[A-Za-z0-9]{12,}",
    ),
)
"""Kind, beginning and rest. RE2 searches for all beginnings at once; the rest is only compared there."""

_SHARED_FORMS = frozenset(("Vault token", "Render API key", "key of a model's provider", "prefixed key"))
"""Identifiers in code have these forms too, unless what follows the beginning looks random."""
_PUBLIC = "pk_"
"""Stripe and others use this name for keys that are meant for web pages."""

_QUOTES = "[\"'`]*"
"""Any number, because JSON inside JSON doubles the quotes around a text at each level (see detection.py)."""
_CLOSING = "[\"'`\\]]*"
_VALUE = r"(?:[\"'`]+([^\s\"'`\\]{8,500})|([^\s\"'`,;<>(){}\[\]\\|]{8,500}))"
_LABEL = (
    r"(?:pass(?:wd|word|phrase|code)?|passw|pwd|secret|token|credentials?"
    r"|(?:api|access|secret|private|signing|encryption|account|auth|master|service|license)[_-]?key|secret_?key_?base)"
)
_LABELS = (
    (rf"{_LABEL}{_CLOSING}[ \t]*[:=>]", r">?=?[ \t]*" + _VALUE, looks_random),
    (rf"--[a-z-]*{_LABEL}[ \t]", r"[ \t]*" + _VALUE, looks_random),
    (r"(?-i:[A-Z0-9]_KEY)[ \t]*[:=]", r"[ \t]*" + _VALUE, is_random_key),
    (r"\blogin[ \t]", rf"\S+\s+password[ \t]+{_VALUE}", looks_random),
    (r"\bbearer[ \t]", r"[ \t]*([A-Za-z0-9._~+/-]{20,}=*)", looks_random),
    (rf"\bauthorization{_QUOTES}[ \t]*:", rf"[ \t]*{_QUOTES}(?:token[ \t]+)?([\w.~+/-]{{20,}}=*)", looks_random),
    (r"\bbasic[ \t]", r"[ \t]*([A-Za-z0-9+/]{12,}={0,2})", is_basic_auth),
    (r"\"auth\"+[ \t]*:", r"[ \t]*\"+([A-Za-z0-9+/]{12,}={0,2})", is_basic_auth),
    (rf"\b(?:set-)?cookie{_QUOTES}[ \t]*:", r"[^\n]*?(?i:sess|sid|auth|token)[\w.-]*=([^\s;\"']{20,})", looks_random),
    (r"\w://([^\s/?#@\"'`<>]*:[^\s/?#@\"'`<>]+)@", "", is_login),
    (r"[ \t](?:-u|--user)\b", rf"[ =]?{_QUOTES}([\w.@-]+:[^\s'\"]{{8,}})", is_login),
    (r"[?&;](?:sig|signature|x-(?:amz|goog)-signature)=", r"([A-Za-z0-9%/+]{40,}={0,2})", looks_random),
)
"""A label, the secret after it, and a test that tells a secret from text about secrets. Labels match in any case."""

_NO_SECRET = re.compile(
    r"(?i)(?:next|page|continuation|cursor|sync|pagination|eos|bos|unk|pad|mask|sep|cls|csrf|xsrf|stop|start|max|min|num"
    r"|total|public|cache|primary|foreign|partition|sort|idempotency|of)[._-]?(?:token|key)$"
)
"""Labels of values that are not secret: pages of a listing, the vocabulary of a model, columns of a table."""
_NAME = re.compile(r"[?&]?[\w.-]*$")
_LONGEST_NAME = 60
_SHORTEST_TOKEN = 16
"""Shorter tokens belong to badges and examples. Passwords may be shorter."""


@functools.cache
def pattern(text: str) -> Any:
    """An RE2 pattern: no text can make it slow."""
    import re2  # noqa: PLC0415

    options = re2.Options()
    options.max_mem = 64 << 20  # with the usual 8 MB, RE2 keeps discarding the automaton of these patterns
    return re2.compile(text, options)


def find_by_form(text: str) -> Iterator[Secret]:
    """The credentials in a text that have one of these forms."""
    beginnings = "|".join(sorted({beginning for _, beginning, _ in _FORMS}))
    for found in pattern(rf"\b(?:{beginnings})").finditer(text):
        for kind, form in _forms():
            if whole := form.match(text, found.start()):
                if kind not in _SHARED_FORMS or (looks_random(whole[0]) and not whole[0].startswith(_PUBLIC)):
                    yield Secret(kind, *whole.span())
                break


@functools.cache
def _forms() -> list[tuple[str, re.Pattern[str]]]:
    return [(kind, re.compile(beginning + rest)) for kind, beginning, rest in _FORMS]


def find_by_label(text: str) -> Iterator[Secret]:
    """The credentials in a text that follow a label."""
    for found in pattern("(?i)" + "|".join(f"(?:{label})" for label, _, _ in _LABELS)).finditer(text):
        for labelled, is_secret in _labels():
            if whole := labelled.match(text, found.start()):
                value = whole.lastindex or 0
                start, end = _value(_name(text, found), text, *whole.span(value))
                if start < end and is_secret(text[start:end]):
                    after_user = text.index(":", start) + 1 if is_secret is is_login else start
                    yield Secret("labelled secret", after_user, end)
                break


@functools.cache
def _labels() -> list[tuple[re.Pattern[str], Callable[[str], bool]]]:
    return [(re.compile(f"(?i:{label}){rest}"), is_secret) for label, rest, is_secret in _LABELS]


def _name(text: str, found: Any) -> str:
    """The whole name that a label ends, with the `?` or `&` before it in a URL: `&next_token`."""
    before = _NAME.search(text, max(found.start() - _LONGEST_NAME, 0), found.start())
    name: str = found[0].rstrip("\"'`] \t:=>")
    return (before[0] if before else "") + name


def _value(name: str, text: str, start: int, end: int) -> tuple[int, int]:
    """The span of a member's value; empty if its name does not indicate a secret."""
    if name[0] in "?&" and (amp := text.find("&", start, end)) >= 0:
        end = amp
    is_short_token = name.lower().endswith("token") and end - start < _SHORTEST_TOKEN
    return (start, start) if is_short_token or _NO_SECRET.search(name) else (start, end)
