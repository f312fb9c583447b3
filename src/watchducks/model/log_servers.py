"""What ``clickhouse://user:password@host:9000,other:9000/database`` says. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

DEFAULT_PORT: Final = 9000
SCHEME: Final = "clickhouse"
EXAMPLE: Final = "clickhouse://user:password@host:9000/database"


@dataclass(frozen=True, slots=True)
class LogServers:
    """ClickHouse servers, of which each is asked alike.

    :ivar hosts: names or addresses with their ports, in the order in which they are preferred.
    """

    hosts: tuple[tuple[str, int], ...]
    user: str
    password: str = field(repr=False)
    database: str


def parse_log_servers(url: str) -> LogServers:
    """Return what ``url`` names; several hosts stand beside each other with commas.

    :raises ValueError: it is no such URL. The message never holds any of it.
    """
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    database = unquote(parts.path.strip("/"))
    if parts.scheme != SCHEME or not database or "/" in database:
        raise ValueError(f"expected {EXAMPLE}")
    return LogServers(
        hosts=tuple(_host(text) for text in hosts.split(",")),
        user=unquote(user) or "default",
        password=unquote(password),
        database=database,
    )


def _host(text: str) -> tuple[str, int]:
    # Each as urlsplit reads it alone: brackets round IPv6, a port that may be missing.
    one = urlsplit(f"//{text}")
    try:
        port = one.port or DEFAULT_PORT
    except ValueError:
        raise ValueError("the port is not a number from 1 to 65535") from None
    if not one.hostname:
        raise ValueError(f"expected {EXAMPLE}")
    return one.hostname, port
