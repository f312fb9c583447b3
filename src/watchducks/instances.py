"""Two instances of one appliance on one host, while the one takes over from the other.

They are started on the same sockets and the same ``data_dir``, by ``twistd watchducks --instance
NAME``, and only their names tell them apart: "blue" and "green" in the units that come with us.
Each has doors of its own, on loopback and on ports that the kernel chose, so that somebody can ask
this one, whoever else answers on the shared sockets.
"""

from __future__ import annotations

import dataclasses
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from watchducks.settings import Settings

LOOPBACK: Final = "127.0.0.1"
# Part of file names, and of systemd's instance names.
NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
CONTROL_FILE: Final = "control.sock"


def control_file(data_dir: Path, instance: str) -> Path:
    """Return where an instance tells how it is (:mod:`watchducks.appliance.control`).

    :param instance: "" for an appliance that is alone.
    """
    return data_dir / "run" / instance / CONTROL_FILE


class Doors:
    """The ports of one instance's own: reserved now, and listened on by who owns the role.

    A reservation is a bound socket that never listens. Beside it, and for as long as it is there,
    Linux lets nobody have the port but who binds it by name with SO_REUSEADDR, as Twisted does.

    :ivar ports: ``http``, ``https`` and ``dns`` -> port on loopback, as far as the roles have them.
    """

    def __init__(self, roles: tuple[str, ...]) -> None:
        """:raises OSError: there is no port left."""
        kinds = ["http", "https"] if "proxy" in roles else []
        if "nameserver" in roles:
            kinds.append("dns")
        self._sockets = {kind: _reserved() for kind in kinds}
        self.ports: Mapping[str, int] = {
            kind: reserved.getsockname()[1] for kind, reserved in self._sockets.items()
        }

    def in_settings(self, settings: Settings) -> Settings:
        """Return the settings with these doors beside the endpoints that all instances share."""
        text = {kind: (f"tcp:{port}:interface={LOOPBACK}",) for kind, port in self.ports.items()}
        proxy, nameserver = settings.proxy, settings.nameserver
        return dataclasses.replace(
            settings,
            proxy=dataclasses.replace(
                proxy,
                http=proxy.http + text.get("http", ()),
                https=proxy.https + text.get("https", ()),
            ),
            nameserver=dataclasses.replace(
                nameserver, listen=nameserver.listen + text.get("dns", ())
            ),
        )

    def close(self) -> None:
        """Give the ports back."""
        for reserved in self._sockets.values():
            reserved.close()


def _reserved() -> socket.socket:
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((LOOPBACK, 0))
    except OSError:
        reserved.close()
        raise
    return reserved
