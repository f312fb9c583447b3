"""A private ZooKeeper, which replicated tables of ClickHouse 18.16 cannot do without."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerProcess, find_program, missing

# Debian's; its manifest names the libraries that it needs.
LIBRARY = Path("/usr/share/java/zookeeper.jar")

# A session may be as short as two ticks. No file is synchronised: the machine does not go down in
# the middle of a test.
CONFIG = """\
tickTime=500
dataDir={directory}/data
clientPort={port}
clientPortAddress={host}
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=srvr
"""
JAVA_OPTIONS = (
    "-Xmx96m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # it starts in half the time
    "-Dzookeeper.forceSync=no",
    "-Dzookeeper.jmx.log4j.disable=true",
)
ANSWER_SECONDS = 1


class ZooKeeper(ServerProcess):
    """java directly: Debian's script would leave it behind as a daemon."""

    name = "ZooKeeper"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port("tcp")
        self._program = find_program("java")
        if not LIBRARY.exists():
            missing("zookeeper")
        self._config = directory / "zoo.cfg"
        self._config.write_text(CONFIG.format(directory=directory, port=self.port, host=LOOPBACK))

    def command(self) -> list[str]:
        main = "org.apache.zookeeper.server.ZooKeeperServerMain"
        return [self._program, *JAVA_OPTIONS, "-cp", str(LIBRARY), main, str(self._config)]

    def answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), ANSWER_SECONDS) as asking:
                asking.sendall(b"srvr")
                # Before, it listens, but has no sessions yet.
                return b"Mode: standalone" in asking.makefile("rb").read()
        except OSError:
            return False
