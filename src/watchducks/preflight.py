"""What is wrong with this host for these settings, told before the appliance starts.

Used by ``watchducks check``. It changes nothing, and it blocks: never call it on a reactor.
"""

from __future__ import annotations

import importlib.util
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from watchducks.model.log_servers import SCHEME, parse_log_servers
from watchducks.settings import Settings

# A store on the same network answers in milliseconds.
_CONNECT_SECONDS = 3.0
_STORE_PORTS = {"mysql+pymysql": 3306, "redis": 6379}


def problems(settings: Settings) -> list[str]:
    """Return one line for each thing that would keep the appliance from working; empty: none."""
    found: list[str] = []
    roles = settings.node.roles
    found += _data_dir(settings.node.data_dir)
    stores = [("registry.url", settings.registry.url), ("cache.url", settings.cache.url)]
    if "proxy" in roles or "console" in roles:
        stores.append(("logs.url", settings.logs.url))
    for key, url in stores:
        found += _store(key, url)
    return found


def _data_dir(path: Path) -> list[str]:
    """The nearest existing folder must let us write (the rest is made at the first start)."""
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        return [f"node.data_dir = {path}: {existing} is not a folder"]
    if not os.access(existing, os.W_OK | os.X_OK):
        return [
            f"node.data_dir = {path}: no permission to write in {existing};"
            " run as the user that owns it"
        ]
    return []


def _store(key: str, url: str) -> list[str]:
    parts = urlsplit(url)
    if parts.scheme == "chdb" and importlib.util.find_spec("chdb") is None:
        return [f"{key}: chDB is not installed: pip install 'watchducks[embedded]'"]
    if parts.scheme == SCHEME:
        hosts = parse_log_servers(url).hosts
        silent = silent_servers(url)
        # Of a cluster one server is enough.
        return [f"{key}: {one}" for one in silent] if len(silent) == len(hosts) else []
    port = _STORE_PORTS.get(parts.scheme)
    if port is None or parts.hostname is None:
        return []
    silence = _silence((parts.hostname, parts.port or port))
    return [f"{key}: {silence}"] if silence else []


def silent_servers(url: str) -> list[str]:
    """Return a line for each server of ``logs.url`` that does not answer."""
    if not url.startswith(f"{SCHEME}:"):
        return []
    return [line for host in parse_log_servers(url).hosts if (line := _silence(host))]


def _silence(where: tuple[str, int]) -> str:
    try:
        socket.create_connection(where, _CONNECT_SECONDS).close()
    except OSError as error:
        # Neither user nor password: the URL itself is never shown.
        return f"nothing answers at {where[0]}:{where[1]}: {error.strerror or error}"
    return ""
