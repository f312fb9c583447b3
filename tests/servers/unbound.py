"""A private unbound: a recursive resolver that knows only the name servers a test tells it of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.servers.nsd import answers_dns
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerProcess, find_program

# What it is not told of is refused: nothing leaves this machine.
CONFIG = """\
server:
  interface: {address}
  port: {port}
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  do-ip6: no
  num-threads: 1
  target-fetch-policy: "0 0 0 0 0"
  module-config: "{modules}"
  local-zone: "." refuse
"""

ZONE = """\
server:
  local-zone: "{zone}" transparent
stub-zone:
  name: "{zone}"
"""


class Unbound(ServerProcess):
    """unbound with the name servers given to :meth:`know`, and none before."""

    name = "unbound"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.address = LOOPBACK
        self.port = free_port()
        self._program = find_program("unbound")
        self._config = directory / "unbound.conf"
        self._write({}, ())

    def know(
        self, servers: Mapping[str, Sequence[tuple[str, int]]], trust_anchors: Sequence[str] = ()
    ) -> None:
        """Find each zone at its servers from now on, with an empty cache.

        :param servers: zone -> addresses and ports of its name servers.
        :param trust_anchors: DS or DNSKEY records; with any of them, answers are validated.
        """
        self._write(servers, trust_anchors)
        if self.running:
            self.stop()
            self.start()

    def _write(
        self, servers: Mapping[str, Sequence[tuple[str, int]]], trust_anchors: Sequence[str]
    ) -> None:
        parts = [
            CONFIG.format(
                address=self.address,
                port=self.port,
                directory=self.directory,
                modules="validator iterator" if trust_anchors else "iterator",
            )
        ]
        if trust_anchors:
            parts.append("server:\n")
            parts += [f"  trust-anchor: '{anchor}'\n" for anchor in trust_anchors]
        for zone, addresses in servers.items():
            parts.append(ZONE.format(zone=zone))
            parts += [f"  stub-addr: {address}@{port}\n" for address, port in addresses]
        self._config.write_text("".join(parts))

    def command(self) -> list[str]:
        return [self._program, "-d", "-c", str(self._config)]

    def answers(self) -> bool:
        return answers_dns(self.address, self.port)
