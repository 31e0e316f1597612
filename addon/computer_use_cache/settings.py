"""Every setting, declared once. The mitmproxy option, the environment variable, the flag of `start`, the output of
`doctor` and the README's table are derived from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from computer_use_cache import setting_values
from computer_use_cache.errors import SettingError
from computer_use_cache.keys import providers
from computer_use_cache.keys.normalizers import Normalizer, normalizers
from computer_use_cache.keys.providers import Hosts
from computer_use_cache.models import Ending
from computer_use_cache.rebinding.bindings import Bindings
from computer_use_cache.screens.masks import Mask, masks
from computer_use_cache.setting_declaration import DEFAULT_UPSTREAM, Declaration, Surface
from computer_use_cache.setting_values import BaseUrl, Floor, HitUsage, Mode, Samples, Scope, Speed, Switch


def _setting(
    variables: str, default: str, parse: Callable[[str], Any], help: str, surface: Surface = Surface.OPTION
) -> Any:
    return field(metadata={"declaration": (tuple(variables.split()), default, parse, help, surface)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The parsed settings. Field names are the option names without `cache_`."""

    upstream_base_url: BaseUrl = _setting(
        "UPSTREAM_BASE_URL OPENAI_BASE_URL",
        DEFAULT_UPSTREAM,
        providers.base_url,
        "The model API behind the cache; an origin alone will do. OPENAI_BASE_URL is taken too, unless it points at "
        "this proxy.",
    )
    upstream_api_key: str = _setting(
        "UPSTREAM_API_KEY OPENROUTER_API_KEY OPENAI_API_KEY",
        "",
        setting_values.text,
        "Sent upstream in place of the client's key; empty forwards the client's. OPENROUTER_API_KEY goes to "
        "openrouter.ai only, OPENAI_API_KEY to api.openai.com and *.openai.azure.com only.",
        Surface.ENVIRONMENT,
    )
    upstream_timeout_seconds: float = _setting(
        "UPSTREAM_TIMEOUT_SECONDS",
        "600",
        setting_values.seconds,
        "How long to wait for the upstream's first byte once the request is sent, and between the bytes of a stream.",
    )
    host: str = _setting(
        "HOST",
        "127.0.0.1",
        setting_values.text,
        "The address to listen on; one that is not loopback needs CACHE_CLIENT_TOKEN.",
        Surface.START,
    )
    port: int = _setting("PORT", "8000", setting_values.port, "The port to listen on.", Surface.START)
    workers: int = _setting(
        "WORKERS",
        "1",
        setting_values.workers,
        "How many processes share the port and the store; `auto`: one for each core.",
        Surface.START,
    )
    dir: str = _setting(
        "CACHE_DIR", "./.computer-use-cache", setting_values.folder, "The folder of the store, made with mode 0700."
    )
    db_path: str = _setting(
        "CACHE_DB_PATH",
        "",
        setting_values.text,
        "The original tool's SQLite file; its entries are imported once.",
        Surface.ENVIRONMENT,
    )
    store_url: str = _setting(
        "CACHE_STORE_URL",
        "disk",
        setting_values.store_url,
        "disk keeps entries in CACHE_DIR; redis://host:6379/0 shares them between machines, "
        "redis+cluster://host:6379,host on a cluster, ?read_from_replicas=true reads its replicas too; rediss for TLS.",
    )
    store_password: str = _setting(
        "CACHE_STORE_PASSWORD", "", setting_values.text, "The password of a shared store's server.", Surface.ENVIRONMENT
    )
    enabled: bool = _setting(
        "CACHE_ENABLED", "1", setting_values.boolean, "0: bypass the cache, except for requests with `cache: true`."
    )
    mode: Mode = _setting(
        "CACHE_MODE",
        "readwrite",
        setting_values.one_of(Mode),
        "readwrite, readonly, refresh (write only), offline (never go upstream; a miss is an error) or off.",
    )
    ttl_seconds: int = _setting(
        "CACHE_TTL_SECONDS", "2592000", setting_values.whole, "How long an entry is served, in seconds; 0: forever."
    )
    max_input_chars: int = _setting(
        "CACHE_MAX_INPUT_CHARS",
        "64000000",
        setting_values.whole,
        "The largest request to cache, in bytes; a screenshot takes about 1.2 million.",
    )
    max_response_chars: int = _setting(
        "CACHE_MAX_RESPONSE_CHARS", "16000000", setting_values.whole, "The largest answer to store, in bytes."
    )
    size_limit: int = _setting(
        "CACHE_SIZE_LIMIT", "4GiB", setting_values.size, "The size of the store; entries stored longest ago go first."
    )
    model_allowlist: tuple[str, ...] = _setting(
        "CACHE_MODEL_ALLOWLIST",
        "",
        setting_values.items,
        "Shell patterns, separated by commas: cache these models only.",
    )
    model_denylist: tuple[str, ...] = _setting(
        "CACHE_MODEL_DENYLIST",
        "",
        setting_values.items,
        "Shell patterns, separated by commas: never cache these models.",
    )
    ignore_keys: tuple[str, ...] = _setting(
        "CACHE_IGNORE_KEYS",
        "",
        setting_values.items,
        "Body fields left out of the key, separated by commas: names, or JSON pointers such as /messages/*/name.",
    )
    normalize: tuple[Normalizer, ...] = _setting(
        "CACHE_NORMALIZE",
        "",
        normalizers,
        "What is made equal before hashing: uuids, timestamps, dates, tmp-paths, tool-call-ids, image-pixels, "
        "image-caret, and s/regex/text/ rules, separated by commas.",
    )
    image_mask: tuple[Mask, ...] = _setting(
        "CACHE_IMAGE_MASK",
        "",
        masks,
        "Rectangles of the screen whose pixels do not count, by the size of the picture: 1024x768:895,737,1024,768; "
        "*:top 34. A ! after one lets it hide more than 2 % of the picture; `1024x768 scaled:` widens it by 8 pixels, "
        "as is done for JPEG.",
    )
    skip: frozenset[Ending] = _setting(
        "CACHE_SKIP",
        "",
        setting_values.some_of(Ending),
        "Complete answers that are not stored because of how they ended: length, content_filter, refusal.",
    )
    hit_usage: HitUsage = _setting(
        "CACHE_HIT_USAGE",
        "recorded",
        setting_values.one_of(HitUsage),
        "The usage that a hit reports: recorded, or zero, for clients that bill by it.",
    )
    rebind: bool = _setting(
        "CACHE_REBIND",
        "off",
        setting_values.boolean,
        "on: serve answers recorded for another run, with this run's times, paths and ids in place of that run's.",
    )
    bind: Bindings = _setting(
        "CACHE_BIND",
        "",
        Bindings.parse,
        "This run's values for rebinding: cwd, home, user, host and tmp, such as cwd=/src/x,home=/home/anna.",
    )
    samples: Samples = _setting(
        "CACHE_SAMPLES",
        "latest",
        setting_values.one_of(Samples),
        "ordered: the n-th time a run sends the same request, it gets the n-th recorded answer.",
    )
    scope: Scope = _setting(
        "CACHE_SCOPE",
        "auto",
        setting_values.one_of(Scope),
        "shared, credential (callers with different keys share nothing) or auto: shared on loopback only.",
    )
    stale_if_error_seconds: int = _setting(
        "CACHE_STALE_IF_ERROR_SECONDS",
        "0",
        setting_values.whole,
        "How long after its TTL an entry is kept and served when the upstream fails with 5xx, 429 or no answer.",
    )
    replay_speed: Speed | Floor | float = _setting(
        "CACHE_REPLAY_SPEED",
        "instant",
        setting_values.speed,
        "How fast an answer is replayed: instant, recorded, a number of tokens a second (streams only), or not before "
        "a time such as 500ms.",
    )
    fast_lane: Switch = _setting(
        "CACHE_FAST_LANE",
        "auto",
        setting_values.one_of(Switch),
        "auto: answer hits without a mitmproxy flow unless one is shown, saved or changed; on and off force it.",
    )
    max_flows: int = _setting(
        "CACHE_MAX_FLOWS",
        "2000",
        setting_values.whole,
        "Flows that mitmweb and mitmproxy keep; the oldest go first. 0: all.",
    )
    hosts: Hosts = _setting(
        "CACHE_HOSTS",
        "",
        Hosts.parse,
        "Shell patterns, separated by commas: hosts to cache when intercepted, instead of the known model APIs; +host "
        "adds to these, -host takes away.",
    )
    keep_connection_strategy: bool = _setting(
        "CACHE_KEEP_CONNECTION_STRATEGY",
        "0",
        setting_values.boolean,
        "1: keep mitmproxy's connection_strategy; the cache sets it to lazy, so that hits work while the upstream is "
        "down.",
    )
    admin_token: str = _setting(
        "CACHE_ADMIN_TOKEN",
        "",
        setting_values.text,
        "If set, required to clear the cache and to list, read and delete entries.",
        Surface.ENVIRONMENT,
    )
    client_token: tuple[tuple[str, str], ...] = _setting(
        "CACHE_CLIENT_TOKEN",
        "",
        setting_values.clients,
        "If set, clients send it as their API key; name:token pairs give each client entries of its own.",
        Surface.ENVIRONMENT,
    )
    allowed_hosts: tuple[str, ...] = _setting(
        "CACHE_ALLOWED_HOSTS",
        "",
        setting_values.items,
        "Host names the proxy answers to, besides loopback names and the address it was reached at.",
    )
    cors_allow_origin: tuple[str, ...] = _setting(
        "CORS_ALLOW_ORIGIN",
        "",
        setting_values.origins,
        "Origins of web pages that may use the proxy, separated by commas.",
    )
    include_metadata: bool = _setting(
        "INCLUDE_CACHE_METADATA",
        "0",
        setting_values.boolean,
        "1: add `computer_use_cache`, and for older clients `code_model_cache`, to JSON answers.",
    )
    openrouter_http_referer: str = _setting(
        "OPENROUTER_HTTP_REFERER", "", setting_values.text, "Sent upstream as HTTP-Referer, OpenRouter's attribution."
    )
    openrouter_x_title: str = _setting(
        "OPENROUTER_X_TITLE", "", setting_values.text, "Sent upstream as X-Title, OpenRouter's attribution."
    )

    @staticmethod
    def declarations() -> Iterator[Declaration]:
        """Every setting's declaration, in the order of the README's table."""
        for item in fields(Settings):
            yield Declaration(item.name, *item.metadata["declaration"])

    @staticmethod
    def declaration(name: str) -> Declaration:
        """The declaration of one setting, by its field's name."""
        return next(item for item in Settings.declarations() if item.name == name)

    @classmethod
    def load(cls, environment: Mapping[str, str], options: Mapping[str, str] | None = None) -> Settings:
        """The settings from option texts (by option name; absent ones come from the environment).

        Raises SettingError for the first bad value.
        """
        given = options or {}
        if upstream := given.get("cache_upstream_base_url"):
            environment = {**environment, "UPSTREAM_BASE_URL": upstream}
        texts = {item: given.get(item.option or "", item.text_from(environment)) for item in cls.declarations()}
        return cls(**{item.name: item.value_from(text) for item, text in texts.items()})

    @property
    def store_place(self) -> str:
        """Where entries are kept, for display."""
        return self.dir if self.store_url == "disk" else self.store_url

    def check_exposure(self, hosts: Iterable[str]) -> bool:
        """Whether every address listened on is this machine's loopback ("" is every address).

        Raises SettingError when one is not and no client token is set.
        """
        exposed = sorted(host or "every address" for host in hosts if not setting_values.is_loopback(host))
        if exposed and not self.client_token:
            raise SettingError(
                f"HOST: {', '.join(exposed)} can be reached from other machines; "
                "set CACHE_CLIENT_TOKEN, or give a loopback address such as 127.0.0.1"
            )
        return not exposed
