"""Opens the store that the settings name."""

from __future__ import annotations

from pathlib import Path

from computer_use_cache.errors import SettingError
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from computer_use_cache.store.disk import DiskStore


def open_store(settings: Settings) -> Store:
    """Opens it; raises StoreError, or SettingError if the library it needs is not installed."""
    if settings.store_url == "disk":
        return DiskStore(Path(settings.dir), settings.size_limit, leases=settings.workers > 1)
    try:
        from computer_use_cache.store.redis import RedisStore  # noqa: PLC0415  # its library is optional
    except ModuleNotFoundError:
        raise SettingError(
            "CACHE_STORE_URL: a shared store needs the redis package; in the cache's checkout: pip install '.[redis]'"
        ) from None
    return RedisStore(settings.store_url, settings.store_password, settings.size_limit)
