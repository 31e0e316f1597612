"""Every setting: its default parses, a bad value is named, and no secret is shown."""

from __future__ import annotations

import os
import sys

import pytest

from computer_use_cache.errors import SettingError
from computer_use_cache.models import Ending
from computer_use_cache.setting_declaration import Declaration, Surface
from computer_use_cache.setting_values import BaseUrl, HitUsage, Mode, Scope, Speed
from computer_use_cache.settings import Settings

DECLARATIONS = {declaration.name: declaration for declaration in Settings.declarations()}
by_name = pytest.mark.parametrize("declaration", DECLARATIONS.values(), ids=list(DECLARATIONS))
SECRET = "hush" * 8
PROVIDERS = {
    "OPENROUTER_API_KEY": {"UPSTREAM_BASE_URL": "https://openrouter.ai/api/v1"},
    "OPENAI_API_KEY": {"UPSTREAM_BASE_URL": "https://api.openai.com/v1"},
}
"""What a provider's own variable goes to."""


@by_name
def test_a_default_is_an_allowed_value(declaration: Declaration) -> None:
    assert declaration.value_from(declaration.default) == getattr(Settings.load({}), declaration.name)


@by_name
def test_every_variable_gives_the_value_to_its_setting(declaration: Declaration) -> None:
    for variable in declaration.variables:
        assert declaration.text_from(PROVIDERS.get(variable, {}) | {variable: "given"}) == "given"


@by_name
def test_the_first_variable_that_is_set_wins(declaration: Declaration) -> None:
    environment = {name: f"from {name}" for name in reversed(declaration.variables)}
    for variable in declaration.variables:
        environment |= PROVIDERS.get(variable, {})
        assert declaration.text_from(environment) == f"from {variable}"
        environment[variable] = ""
    assert declaration.text_from(environment) == declaration.default


@by_name
def test_only_credentials_and_old_names_have_no_option_and_no_flag(declaration: Declaration) -> None:
    hidden = {"upstream_api_key", "db_path", "store_password", "admin_token", "client_token"}
    assert (declaration.flag is None) is (declaration.name in hidden)
    assert (declaration.option is None) is (declaration.name in hidden | {"host", "port", "workers"})


def test_names_variables_and_flags_are_each_used_once() -> None:
    variables = [variable for declaration in DECLARATIONS.values() for variable in declaration.variables]
    flags = [declaration.flag for declaration in DECLARATIONS.values() if declaration.flag]
    assert len(set(variables)) == len(variables)
    assert len(set(flags)) == len(flags)


KEYS = {"OPENAI_API_KEY": "openai's", "OPENROUTER_API_KEY": "openrouter's"}


@pytest.mark.parametrize(
    ("upstream", "given", "key"),
    [
        ("https://openrouter.ai/api/v1", KEYS, "openrouter's"),
        ("https://openrouter.ai:443/api/v1", KEYS, "openrouter's"),
        ("https://api.openai.com/v1", KEYS, "openai's"),
        ("https://API.openai.com", KEYS, "openai's"),
        ("https://mine.openai.azure.com/openai/v1", KEYS, "openai's"),
        ("https://api.anthropic.com/v1", KEYS, ""),
        ("http://127.0.0.1:11434/v1", KEYS, ""),
        ("https://api.openai.com.evil.example/v1", KEYS, ""),
        ("https://api.openai.com@evil.example/v1", KEYS, ""),
        ("https://evil.example/api.openai.com", KEYS, ""),
        ("https://api.anthropic.com/v1", KEYS | {"UPSTREAM_API_KEY": "any"}, "any"),
        ("https://api.openai.com/v1", KEYS | {"UPSTREAM_API_KEY": "any"}, "any"),
        ("https://api.openai.com/v1", {"OPENAI_API_KEY": "unused"}, ""),
    ],
)
def test_a_providers_own_key_goes_to_that_provider_only(upstream: str, given: dict[str, str], key: str) -> None:
    declared = DECLARATIONS["upstream_api_key"]
    assert declared.text_from({"UPSTREAM_BASE_URL": upstream} | given) == key
    try:
        loaded = [Settings.load({"UPSTREAM_BASE_URL": upstream} | given)]
        loaded.append(Settings.load({"UPSTREAM_BASE_URL": "http://a"} | given, {"cache_upstream_base_url": upstream}))
    except SettingError:
        assert "@" in upstream
    else:
        assert [settings.upstream_api_key for settings in loaded] == [key, key]


def test_an_option_wins_over_the_environment() -> None:
    environment = {"CACHE_MODE": "off", "CACHE_TTL_SECONDS": "5"}
    settings = Settings.load(environment, {"cache_mode": "readonly"})
    assert (settings.mode, settings.ttl_seconds) == (Mode.READONLY, 5)


def test_an_option_gives_no_setting_that_has_none() -> None:
    assert Settings.load({}, {"cache_admin_token": SECRET}).admin_token == ""


@pytest.mark.skipif(sys.platform != "linux", reason="sched_setaffinity is Linux's")
def test_one_worker_is_run_for_each_core_that_may_be_used() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert Settings.load({"WORKERS": "auto"}).workers == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert Settings.load({"WORKERS": "Auto"}).workers == min(len(allowed), 64)


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("UPSTREAM_BASE_URL", "HTTPS://API.Example:443/v1/", BaseUrl("https://api.example", "/v1")),
        ("UPSTREAM_BASE_URL", "http://h:443", BaseUrl("http://h:443", "")),
        ("UPSTREAM_BASE_URL", " http://[::1]:80/ ", BaseUrl("http://[::1]", "")),
        ("UPSTREAM_TIMEOUT_SECONDS", "0.5", 0.5),
        ("PORT", "0", 0),
        ("PORT", "65535", 65535),
        ("CACHE_STORE_URL", " rediss://team@cache.example:6380/2 ", "rediss://team@cache.example:6380/2"),
        ("CACHE_STORE_URL", "redis://[::1]", "redis://[::1]"),
        ("CACHE_STORE_URL", "rediss+cluster://team@[::1]:1,h", "rediss+cluster://team@[::1]:1,h"),
        ("CACHE_ENABLED", " Yes ", True),
        ("CACHE_ENABLED", "off", False),
        ("CACHE_MODE", " Offline ", Mode.OFFLINE),
        ("CACHE_SKIP", "Length, refusal", frozenset({Ending.LENGTH, Ending.REFUSAL})),
        ("CACHE_HIT_USAGE", "zero", HitUsage.ZERO),
        ("CACHE_SCOPE", "shared", Scope.SHARED),
        ("CACHE_TTL_SECONDS", "0", 0),
        ("CACHE_SIZE_LIMIT", "1", 1),
        ("CACHE_SIZE_LIMIT", "10kb", 10 * 2**10),
        ("CACHE_SIZE_LIMIT", "2 MiB", 2 * 2**20),
        ("CACHE_SIZE_LIMIT", "1T", 2**40),
        ("CACHE_MODEL_ALLOWLIST", " a* ,, b ", ("a*", "b")),
        ("CACHE_REPLAY_SPEED", "12.5", 12.5),
        ("CACHE_REPLAY_SPEED", "Recorded", Speed.RECORDED),
        ("CACHE_CLIENT_TOKEN", "t", (("", "t"),)),
        ("CACHE_CLIENT_TOKEN", "a:t, b:u:v", (("a", "t"), ("b", "u:v"))),
        ("CORS_ALLOW_ORIGIN", "http://localhost:3000, *", ("http://localhost:3000", "*")),
    ],
)
def test_a_good_value_is_read(variable: str, text: str, value: object) -> None:
    (name,) = (item.name for item in DECLARATIONS.values() if item.variables[0] == variable)
    assert getattr(Settings.load({variable: text}), name) == value


BAD_VALUES = [
    *(
        ("UPSTREAM_BASE_URL", text, "http or https URL")
        for text in (
            "api.openai.com/v1",
            "ftp://h",
            "https://",
            "https:///v1",
            "https://h/v1?a=b",
            "https://h/v1#a",
            "https://h:port/v1",
            "https://h:99999/v1",
            "http://[::1",
            "https://a b/v1",
        )
    ),
    *(("UPSTREAM_TIMEOUT_SECONDS", text, "seconds above 0") for text in ("0", "-1", "nan", "inf", "1e3", "ten")),
    *(("PORT", text, "0 to 65535") for text in ("65536", "-1", "8000/tcp", "\u0661")),
    *(
        ("CACHE_STORE_URL", text, "redis://host:6379/0")
        for text in (
            "redis",
            "http://h",
            "redis://",
            "redis://h:port",
            "redis://h/name",
            "redis://h?a=b",
            "redis://[::1",
            "redis://h,h",
            "redis://h?read_from_replicas=true",
            "redis+cluster://h:1,",
            "redis+cluster://h:65536",
            "redis+cluster://h?read_from_replicas=yes",
            "redis+sentinel://h",
        )
    ),
    ("CACHE_STORE_URL", "redis+cluster://h/1", "no database number"),
    *(("CACHE_ENABLED", text, "1, true, yes or on") for text in ("2", "maybe")),
    ("CACHE_DIR", " ", "a folder"),
    ("CACHE_MODE", "fast", "readwrite, readonly, refresh, offline, off"),
    *(("CACHE_TTL_SECONDS", text, "a whole number") for text in ("-1", "1.5", "1h", "9" * 16)),
    ("CACHE_MAX_INPUT_CHARS", "1k", "a whole number"),
    ("CACHE_MAX_RESPONSE_CHARS", "-1", "a whole number"),
    *(("CACHE_SIZE_LIMIT", text, "bytes above 0") for text in ("0", "-1", "1.5GiB", "4GiBs", "much")),
    ("CACHE_SKIP", "length,stop", "any of length, content_filter, refusal, separated by commas"),
    ("CACHE_HIT_USAGE", "none", "recorded, zero"),
    ("CACHE_SCOPE", "private", "auto, shared, credential"),
    *(("CACHE_REPLAY_SPEED", text, "tokens a second") for text in ("0", "-1", "fast")),
    ("CACHE_KEEP_CONNECTION_STRATEGY", "lazy", "1, true, yes or on"),
    *(("CORS_ALLOW_ORIGIN", text, "origins such as") for text in ("localhost", "http://h/", "null", "*, h")),
    ("INCLUDE_CACHE_METADATA", "all", "1, true, yes or on"),
]


@pytest.mark.parametrize(("variable", "text", "allowed"), BAD_VALUES)
def test_a_bad_value_is_named_with_what_is_allowed(variable: str, text: str, allowed: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.load({variable: text})
    message = str(caught.value)
    assert variable in message
    assert repr(text) in message
    assert allowed in message


@pytest.mark.parametrize(("variable", "text", "allowed"), [case for case in BAD_VALUES if case[0] != "PORT"])
def test_a_bad_option_is_refused_like_a_bad_variable(variable: str, text: str, allowed: str) -> None:
    (declaration,) = (item for item in DECLARATIONS.values() if item.variables[0] == variable)
    assert declaration.option
    with pytest.raises(SettingError, match=declaration.option):
        Settings.load({}, {declaration.option: text})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CACHE_CLIENT_TOKEN", f"a:{SECRET},a:other"),
        ("CACHE_CLIENT_TOKEN", f"{SECRET},other"),
        ("CACHE_CLIENT_TOKEN", f"a:,b:{SECRET}"),
        ("UPSTREAM_BASE_URL", f"https://user:{SECRET}@h/v1"),
        ("UPSTREAM_BASE_URL", f"https://{SECRET}@h/v1"),
        ("CACHE_STORE_URL", f"redis://user:{SECRET}@h"),
        ("CACHE_STORE_URL", f"rediss://:{SECRET}@h:6379/0"),
        ("CACHE_STORE_URL", f"redis+cluster://user:{SECRET}@h,h"),
    ],
)
def test_a_message_about_a_bad_value_shows_no_secret(variable: str, text: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.load({variable: text})
    assert variable in str(caught.value)
    assert SECRET not in str(caught.value)


def test_credentials_are_read_from_the_environment_only() -> None:
    secrets = [item for item in DECLARATIONS.values() if item.name.endswith(("_key", "_token", "_password"))]
    assert [item.surface for item in secrets] == [Surface.ENVIRONMENT] * 4


@pytest.mark.parametrize(
    ("url", "environment", "is_taken"),
    [
        ("https://api.openai.com/v1", {}, True),
        ("http://127.0.0.1:9000/v1", {}, True),
        ("http://127.0.0.1:8000/v1", {}, False),
        ("http://localhost:8000/v1", {}, False),
        ("http://LOCALHOST:8000/v1", {}, False),
        ("http://[::1]:8000/v1", {}, False),
        ("http://127.0.0.1:8000/v1", {"PORT": "9000"}, True),
        ("http://127.0.0.1:9000/v1", {"PORT": "9000"}, False),
        ("http://10.0.0.5:8000/v1", {}, True),
        ("http://10.0.0.5:8000/v1", {"HOST": "10.0.0.5"}, False),
        ("http://127.0.0.1/v1", {"PORT": "80"}, False),
    ],
)
def test_openai_base_url_is_taken_unless_it_is_this_proxy(
    url: str, environment: dict[str, str], is_taken: bool
) -> None:
    settings = Settings.load({"OPENAI_BASE_URL": url, **environment})
    assert str(settings.upstream_base_url) == (url if is_taken else "https://openrouter.ai/api/v1")


def test_upstream_base_url_may_be_any_loopback_address() -> None:
    url = "http://127.0.0.1:8000/v1"
    assert str(Settings.load({"UPSTREAM_BASE_URL": url}).upstream_base_url) == url


@pytest.mark.parametrize("url", ["http://localhost:port/v1", "http://[::1", "nonsense"])
def test_a_malformed_openai_base_url_is_a_bad_setting(url: str) -> None:
    with pytest.raises(SettingError):
        Settings.load({"OPENAI_BASE_URL": url})
