"""A private MariaDB: `mariadb.fresh_database()` gives a SQLAlchemy URL of an empty database."""

from __future__ import annotations

import getpass
import itertools
import subprocess
from pathlib import Path

import pymysql

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerProcess, find_program

USER, PASSWORD = "watchducks", "quack"

# mariadb-install-db takes 3 s on an idle machine.
INSTALL_SECONDS = 50.0


class MariaDB(ServerProcess):
    """mariadbd with an empty data directory, the user `watchducks`, no regard for power cuts."""

    name = "MariaDB"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port("tcp")
        self._program = find_program("mariadbd", "mysqld")
        self._data = directory / "data"
        # Not /tmp: temporary tables there are named by process id and number, and what a server in
        # another namespace, or one that was killed, has left would be in the way.
        self._temporary = directory / "tmp"
        self._temporary.mkdir()
        self._user_option = f"--user={getpass.getuser()}"  # without it, it refuses to run as root
        self._numbers = itertools.count(1)
        self._install()

    def _install(self) -> None:
        result = subprocess.run(
            [
                find_program("mariadb-install-db", "mysql_install_db"),
                "--no-defaults",
                "--force",  # else it wants this machine's host name to resolve
                f"--datadir={self._data}",
                f"--tmpdir={self._temporary}",
                self._user_option,
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        assert result.returncode == 0, f"mariadb-install-db: {result.stdout}{result.stderr}"

    def command(self) -> list[str]:
        return [
            self._program,
            "--no-defaults",
            f"--datadir={self._data}",
            f"--tmpdir={self._temporary}",
            self._user_option,
            f"--bind-address={LOOPBACK}",
            f"--port={self.port}",
            f"--socket={self.directory / 'socket'}",
            f"--pid-file={self.directory / 'pid'}",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--performance-schema=OFF",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=8M",
            "--innodb-flush-method=nosync",
            "--innodb-flush-log-at-trx-commit=0",
        ]

    def answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except pymysql.Error:
            return False
        return True

    def execute(self, sql: str) -> list[tuple[object, ...]]:
        """Run one statement as root and return its rows."""
        connection = pymysql.connect(
            host=LOOPBACK, port=self.port, user="root", autocommit=True, connect_timeout=2
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def fresh_database(self) -> str:
        """Create an empty database and return its URL."""
        database = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
        self.execute(f"GRANT ALL ON {database}.* TO {USER}@'{LOOPBACK}' IDENTIFIED BY '{PASSWORD}'")
        return f"mysql+pymysql://{USER}:{PASSWORD}@{LOOPBACK}:{self.port}/{database}"
