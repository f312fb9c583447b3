"""Two private ClickHouse servers and their ZooKeeper: one cluster by two names.

As ``ducks`` they are two replicas of one shard, as ``ponds`` two shards of one replica each. What
a server is, its macros say, which tests change; but what tables a server has it finds, when it
starts, by the macros with which they were made.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from tests.servers.clickhouse import ClickHouse
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.zookeeper import ZooKeeper

REPLICAS = "ducks"
SHARDS = "ponds"
SERVERS = 2

# A server that was killed takes no rows before its last session is over; the default is 30 s. Of a
# busy machine shorter ones would end without being missed.
SESSION_MS = 6000

FURTHER = """\
<interserver_http_host>{host}</interserver_http_host>
  <interserver_http_port>{interserver_port}</interserver_http_port>
  <zookeeper>
    <node><host>{host}</host><port>{zookeeper_port}</port></node>
    <session_timeout_ms>{session_ms}</session_timeout_ms>
  </zookeeper>
  <remote_servers>
    <{replicas}><shard><internal_replication>true</internal_replication>{all}</shard></{replicas}>
    <{shards}>{each}</{shards}>
  </remote_servers>
  {macros}
"""
MACROS = "<macros><shard>{shard}</shard><replica>{replica}</replica></macros>"


class ClickHouseCluster:
    """:ivar servers: each may be stopped, killed and paused like any other."""

    def __init__(
        self, of_zookeeper: Path, directories: Sequence[Path], *, shards: bool = False
    ) -> None:
        """:param directories: an empty one for each server.

        :param shards: they are SHARDS at first, and not REPLICAS.
        """
        self.zookeeper = ZooKeeper(of_zookeeper)
        self.servers = [ClickHouse(directory) for directory in directories]
        self._ports = [free_port("tcp") for _ in self.servers]
        self._numbers = itertools.count(1)
        if shards:
            self.as_shards()
        else:
            self.as_replicas()

    def as_replicas(self) -> None:
        """Make them replicas of one shard, as those of REPLICAS are. A server that runs follows."""
        self.configure([("1", "one"), ("1", "other")])

    def as_shards(self) -> None:
        """Make each a shard of its own, as those of SHARDS are. A server that runs follows."""
        self.configure([("1", "one"), ("2", "one")])

    def configure(self, wanted: Sequence[tuple[str, str] | None]) -> None:
        """Say of each server which shard and replica it is; None: nothing."""
        replicas = [
            f"<replica><host>{LOOPBACK}</host><port>{server.port}</port></replica>"
            for server in self.servers
        ]
        internal = "<internal_replication>true</internal_replication>"
        for server, port, told in zip(self.servers, self._ports, wanted, strict=True):
            macros = "" if told is None else MACROS.format(shard=told[0], replica=told[1])
            server.configure(
                FURTHER.format(
                    host=LOOPBACK,
                    interserver_port=port,
                    zookeeper_port=self.zookeeper.port,
                    session_ms=SESSION_MS,
                    replicas=REPLICAS,
                    all="".join(replicas),
                    shards=SHARDS,
                    each="".join(f"<shard>{internal}{one}</shard>" for one in replicas),
                    macros=macros,
                )
            )
            if server.running:
                server.execute("SYSTEM RELOAD CONFIG")

    def fresh_url(self) -> str:
        """Return the URL of a database that is on no server yet; its hosts are all servers."""
        hosts = ",".join(f"{LOOPBACK}:{server.port}" for server in self.servers)
        return f"clickhouse://default:@{hosts}/ducks_{next(self._numbers)}"
