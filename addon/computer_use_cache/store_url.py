"""The address of a shared store, as CACHE_STORE_URL gives it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit

_DEFAULT_PORT = 6379
_ALLOWED = (
    "disk, redis://host:6379/0 or redis+cluster://host:6379,host:6379 (rediss for TLS), "
    "a cluster's with ?read_from_replicas=true or without; a password goes into CACHE_STORE_PASSWORD"
)
_SERVER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s\[\]:,@/]+)(?::(?P<port>[0-9]{1,5}))?")


class Kind(StrEnum):
    """What stands at the address."""

    SINGLE = "single"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """One server and the number of its database, or some servers of a cluster, from which the others are learnt."""

    kind: Kind
    is_encrypted: bool
    user: str | None
    servers: tuple[tuple[str, int], ...]
    database: int
    reads_replicas: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, whose message never contains the text: a password may be in it."""
        try:
            parts = urlsplit(text)
        except ValueError:
            raise ValueError(_ALLOWED) from None
        scheme = re.fullmatch(r"redis(s?)(\+cluster)?", parts.scheme)
        user, at, servers = parts.netloc.rpartition("@")
        found = [_SERVER.fullmatch(server) for server in servers.split(",")]
        if not scheme or ":" in user or parts.fragment or not re.fullmatch(r"/?[0-9]*", parts.path):
            raise ValueError(_ALLOWED)
        addresses = [(each["host"].strip("[]"), int(each["port"] or _DEFAULT_PORT)) for each in found if each]
        kind = Kind.CLUSTER if scheme[2] else Kind.SINGLE
        database = int(parts.path.strip("/") or 0)
        replicas = re.fullmatch(r"(?:read_from_replicas=(true|false))?", parts.query)
        if len(addresses) < len(found) or not all(0 < port < 65536 for _, port in addresses) or not replicas:
            raise ValueError(_ALLOWED)
        if kind is Kind.SINGLE and (len(addresses) > 1 or parts.query):
            raise ValueError(_ALLOWED)
        if kind is Kind.CLUSTER and database:
            raise ValueError("no database number: a cluster has only database 0")
        return cls(kind, bool(scheme[1]), user if at else None, tuple(addresses), database, replicas[1] == "true")
