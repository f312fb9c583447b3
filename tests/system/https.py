"""Browsers' view of https: what is trusted with Pebble's root, and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.servers.pebble import Pebble
from tests.system.appliance import Twistd, curl_through


def trusts(app: Twistd, root: Path, host: str) -> bool:
    """Tell whether a browser that believes Pebble's root gets the page."""
    port = app.ports["https"]
    found = curl_through(("127.0.0.1", port), f"https://{host}:{port}/", "--cacert", root)
    return f"the origin of {host}" in found.stdout


def root_of(pebble: Pebble, folder: Path) -> Path:
    """Write Pebble's root certificate to a file."""
    file = folder / "root.pem"
    file.write_bytes(pebble.root())
    return file
