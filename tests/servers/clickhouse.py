"""A private ClickHouse server: `clickhouse.fresh_database()` gives the URL of an empty database."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from clickhouse_driver import Client
from clickhouse_driver.errors import Error

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerProcess, find_program

ANSWER_SECONDS = 10

# <yandex> is the root element that 18.16, Debian's version, wants; later ones take it, too.
CONFIG = """\
<yandex>
  <logger>
    <level>warning</level>
    <log>{directory}/clickhouse.log</log>
    <errorlog>{directory}/server.log</errorlog>
    <size>10M</size>
    <count>1</count>
  </logger>
  <listen_host>{host}</listen_host>
  <tcp_port>{tcp_port}</tcp_port>
  <http_port>{http_port}</http_port>
  <path>{directory}/data/</path>
  <tmp_path>{directory}/tmp/</tmp_path>
  <users_config>users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <timezone>UTC</timezone>
  <max_concurrent_queries>50</max_concurrent_queries>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <mark_cache_size>67108864</mark_cache_size>
  {further}
</yandex>
"""

# A connection that nobody asks anything sees only so often that the server is to stop, and the
# server waits for it: the ten seconds of the default would be ten for each stop.
POLL_SECONDS = 1

USERS = """\
<yandex>
  <profiles><default><poll_interval>{poll_seconds}</poll_interval></default></profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password/>
      <networks><ip>{host}</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </default>
  </users>
</yandex>
"""


class ClickHouse(ServerProcess):
    """clickhouse-server; the oldest version that WatchDucks supports is Debian's."""

    name = "ClickHouse"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port("tcp")
        self.http_port = free_port("tcp")
        self._program = find_program("clickhouse-server")
        self._numbers = itertools.count(1)
        self._config = directory / "config.xml"
        self.configure("")
        (directory / "users.xml").write_text(USERS.format(host=LOOPBACK, poll_seconds=POLL_SECONDS))

    def configure(self, further: str) -> None:
        """Write the configuration, with further elements; a server that runs follows some."""
        self._config.write_text(
            CONFIG.format(
                directory=escape(str(self.directory)),
                host=LOOPBACK,
                tcp_port=self.port,
                http_port=self.http_port,
                further=further,
            )
        )

    def command(self) -> list[str]:
        return [self._program, f"--config-file={self._config}"]

    def answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except (Error, OSError, EOFError):
            return False
        return True

    def execute(self, sql: str) -> Any:
        """Run one statement over the native protocol and return its rows."""
        client = Client(
            LOOPBACK,
            port=self.port,
            connect_timeout=ANSWER_SECONDS,
            send_receive_timeout=ANSWER_SECONDS,
        )
        try:
            return client.execute(sql)
        finally:
            client.disconnect()

    def fresh_database(self) -> str:
        """Create an empty database and return its URL."""
        database = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {database}")
        return f"clickhouse://default:@{LOOPBACK}:{self.port}/{database}"
