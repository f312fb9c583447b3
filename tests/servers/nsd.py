"""A private NSD: an authoritative server for whatever zones a test writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerProcess, find_program

ANSWER_SECONDS = 1.0

CONFIG = """\
server:
  ip-address: {address}@{port}
  username: ""
  chroot: ""
  zonesdir: "{directory}"
  zonelistfile: "{directory}/zone.list"
  xfrdfile: "{directory}/xfrd.state"
  xfrdir: "{directory}"
  pidfile: "{directory}/nsd.pid"
  database: ""
  server-count: 1
  round-robin: no
  minimal-responses: no
  confine-to-zone: yes
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
remote-control:
  control-enable: no
"""

ZONE = """\
zone:
  name: "{zone}"
  zonefile: "{file}"
"""

# To anybody on loopback, without a key.
TRANSFERS = """\
  provide-xfr: 127.0.0.0/8 NOKEY
"""

# From one primary, with a key or NOKEY.
FOLLOWED = """\
zone:
  name: "{zone}"
  request-xfr: AXFR {address}@{port} {key}
  allow-notify: {address} {key}
"""

KEY = """\
key:
  name: "{name}"
  algorithm: hmac-sha256
  secret: "{secret}"
"""


def answers_dns(address: str, port: int) -> bool:
    """Tell whether a server answers questions, be it to refuse them."""
    try:
        # By TCP, whose refusal is told at once.
        dns.query.tcp(
            # A resolver knows this name by itself.
            dns.message.make_query("localhost", "A"),
            address,
            port=port,
            timeout=ANSWER_SECONDS,
        )
    except (dns.exception.DNSException, OSError):
        return False
    return True


class Nsd(ServerProcess):
    """nsd with the zones given to :meth:`serve`, and none before."""

    name = "NSD"

    def __init__(
        self, directory: Path, *, address: str = LOOPBACK, port: int | None = None
    ) -> None:
        """:param port: of UDP and TCP; None: one that is free."""
        super().__init__(directory)
        self.address = address
        self.port = free_port() if port is None else port
        self._program = find_program("nsd")
        self._config = directory / "nsd.conf"
        self._write({}, transfers=False)

    def serve(self, zones: Mapping[str, str], *, transfers: bool = False) -> None:
        """Answer for ``zones`` (name -> text of its zone file) and for nothing else from now on.

        :param transfers: allow AXFR.
        """
        self._write(zones, transfers=transfers)
        if self.running:
            self.stop()
            self.start()

    def follow(self, zones: Sequence[str], primary_port: int, *, key: tuple[str, str]) -> None:
        """Be a secondary for ``zones``, of the server at ``primary_port`` on the same address.

        :param key: its name and base64 secret.
        """
        name, secret = key
        parts = [
            CONFIG.format(address=self.address, port=self.port, directory=self.directory),
            KEY.format(name=name, secret=secret),
            *(
                FOLLOWED.format(zone=zone, address=self.address, port=primary_port, key=name)
                for zone in zones
            ),
        ]
        self._config.write_text("".join(parts))
        if self.running:
            self.stop()
            self.start()

    def _write(self, zones: Mapping[str, str], *, transfers: bool) -> None:
        parts = [CONFIG.format(address=self.address, port=self.port, directory=self.directory)]
        for number, (zone, text) in enumerate(zones.items()):
            file = f"{number}.zone"
            (self.directory / file).write_text(text)
            parts.append(ZONE.format(zone=zone, file=file) + (TRANSFERS if transfers else ""))
        self._config.write_text("".join(parts))

    def command(self) -> list[str]:
        return [self._program, "-d", "-c", str(self._config)]

    def answers(self) -> bool:
        return answers_dns(self.address, self.port)
