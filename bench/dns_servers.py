"""The name servers of a run: NSD, gdnsd, PowerDNS and ours, each alone on its core.

All hold the same zones: SOA, two NS, and one address for the apex and for www. Each runs as its
manual advises for one core: one process or thread that answers, no log of questions, and what would
limit the rate of one asker is off, because the load is one asker.
"""

from __future__ import annotations

import shutil
from abc import abstractmethod
from pathlib import Path
from typing import Any, Final

import dns.exception
import dns.message
import dns.query
import dns.rcode

from bench.machine import MEASURED_CORE, on_core, program
from bench.registry import ZONE, fill
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerProcess
from tests.system.appliance import Twistd

ADDRESS: Final = "203.0.113.10"
_ANSWER_SECONDS: Final = 0.5
_ZONE_FILE: Final = f"""$TTL 3600
@ SOA ns1.watchducks.example. watchducks.watchducks.example. 1 86400 7200 3600000 30
@ NS ns1.watchducks.example.
@ NS ns2.watchducks.example.
@ 30 A {ADDRESS}
www 30 A {ADDRESS}
"""


def zone_name(number: int) -> str:
    """Return the name of a zone; number 0 is the first."""
    return f"site-{number}.test" if number else ZONE


class NameServer(ServerProcess):
    """A name server with ``zones`` zones.

    :ivar port: for UDP and TCP.
    """

    port: int

    def __init__(self, directory: Path, zones: int) -> None:
        directory.mkdir()
        super().__init__(directory)
        self.port = free_port()
        self._last = zone_name(zones - 1)
        self.prepare([zone_name(number) for number in range(zones)])

    @abstractmethod
    def prepare(self, zones: list[str]) -> None:
        """Write the configuration."""

    def answers(self) -> bool:
        """Whether it answers for the last of its zones."""
        return answers_for(self.port, self._last)

    def on_own_core(self, command: list[str]) -> list[str]:
        """Return ``command`` on the core for what is measured."""
        return on_core(MEASURED_CORE, command)


def answers_for(port: int, zone: str) -> bool:
    """Whether the name server on ``port`` has an address for www in ``zone``."""
    return bool(addresses_of(port, f"www.{zone}"))


def addresses_of(port: int, name: str) -> list[str]:
    """Return the IPv4 addresses of ``name`` as the name server on ``port`` has them."""
    query = dns.message.make_query(name, "A")
    try:
        response = dns.query.udp(query, LOOPBACK, timeout=_ANSWER_SECONDS, port=port)
    except (OSError, dns.exception.DNSException):
        return []
    return [rdata.to_text() for rrset in response.answer for rdata in rrset]


class Nsd(NameServer):
    """Debian's NSD."""

    name = "NSD"

    def prepare(self, zones: list[str]) -> None:
        (self.directory / "common.zone").write_text(_ZONE_FILE)
        server = f"""server:
  ip-address: {LOOPBACK}@{self.port}
  server-count: 1
  username: ""
  chroot: ""
  database: ""
  zonesdir: "{self.directory}"
  pidfile: "{self.directory}/nsd.pid"
  xfrdfile: "{self.directory}/xfrd.state"
  xfrdir: "{self.directory}"
  zonelistfile: "{self.directory}/zone.list"
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
  answer-cookie: yes
remote-control:
  control-enable: no
"""
        entries = (f'zone:\n  name: "{zone}"\n  zonefile: "common.zone"\n' for zone in zones)
        (self.directory / "nsd.conf").write_text(server + "".join(entries))

    def command(self) -> list[str]:
        return self.on_own_core([program("nsd"), "-d", "-c", str(self.directory / "nsd.conf")])


class Gdnsd(NameServer):
    """Debian's gdnsd."""

    name = "gdnsd"

    def prepare(self, zones: list[str]) -> None:
        folder = self.directory / "zones"
        folder.mkdir()
        for zone in zones:
            (folder / zone).write_text(_ZONE_FILE)
        (self.directory / "config").write_text(
            "options => {\n"
            f"  listen => {LOOPBACK}:{self.port}\n"
            "  udp_threads => 1\n"
            "  tcp_threads => 1\n"
            f"  run_dir => {self.directory}/run\n"
            f"  state_dir => {self.directory}/state\n"
            "}\n"
        )

    def command(self) -> list[str]:
        return self.on_own_core([program("gdnsd"), "-c", str(self.directory), "start"])


class PowerDns(NameServer):
    """Debian's PowerDNS with its bind backend, all zones in memory."""

    name = "PowerDNS"

    def prepare(self, zones: list[str]) -> None:
        file = self.directory / "common.zone"
        file.write_text(_ZONE_FILE)
        (self.directory / "named.conf").write_text(
            "".join(f'zone "{zone}" {{ type master; file "{file}"; }};\n' for zone in zones)
        )
        (self.directory / "pdns.conf").write_text(
            f"""launch=bind
bind-config={self.directory}/named.conf
local-address={LOOPBACK}
local-port={self.port}
socket-dir={self.directory}
receiver-threads=1
distributor-threads=1
security-poll-suffix=
edns-cookie-secret=aabbccddeeff00112233445566778899
max-tcp-connections=100
loglevel=3
"""
        )

    def command(self) -> list[str]:
        configuration = f"--config-dir={self.directory}"
        return self.on_own_core(
            [program("pdns_server"), configuration, "--daemon=no", "--guardian=no"]
        )


class WatchDucks(Twistd):
    """The real `twistd watchducks` with the role nameserver, its zones from a registry in SQLite.

    :ivar registry: the file of its registry.
    """

    name = "WatchDucks"

    def __init__(
        self,
        directory: Path,
        zones: int,
        *,
        rrl_per_second: int = 0,
        registry: Path | None = None,
    ) -> None:
        """:param registry: another's, which has these zones; None: one of its own."""
        self.registry = registry or directory / "registry.sqlite"
        settings: dict[str, dict[str, Any]] = {
            "node": {"roles": ["nameserver"]},
            "registry": {"url": f"sqlite:///{self.registry}"},
            # Nobody is at that address: nothing is probed while we measure, and it is "healthy".
            "proxy": {"addresses": [ADDRESS]},
            "nameserver": {"rrl_per_second": rrl_per_second, "health": {"interval": 3600}},
        }
        super().__init__(directory, settings)
        self.port = self.ports["dns"]
        self._last = zone_name(zones - 1)
        if registry is None:
            fill(self.registry, "http://198.51.100.7", zones)

    def command(self) -> list[str]:
        return on_core(MEASURED_CORE, super().command())

    def answers(self) -> bool:
        return answers_for(self.port, self._last)

    def forget_sites(self) -> None:
        """Remove the file of known sites: the next load is the registry's."""
        shutil.rmtree(self.data_dir / "state")


Served = NameServer | WatchDucks
PEERS: Final[dict[str, type[NameServer]]] = {peer.name: peer for peer in (Nsd, Gdnsd, PowerDns)}
KINDS: Final = (*PEERS, WatchDucks.name)
