"""A private Redis that keeps nothing on disk."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerProcess, find_program

ANSWER_SECONDS = 2.0


class Redis(ServerProcess):
    """redis-server; :meth:`stop` loses everything that was in it."""

    name = "Redis"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port("tcp")
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self._program = find_program("redis-server")

    def command(self) -> list[str]:
        return [
            self._program,
            *("--bind", LOOPBACK),
            *("--port", str(self.port)),
            *("--dir", str(self.directory)),
            *("--save", ""),
            *("--appendonly", "no"),
            *("--daemonize", "no"),
        ]

    def answers(self) -> bool:
        try:
            return self.execute("PING") == "+PONG"
        except OSError:
            return False

    def execute(self, command: str) -> str:
        """Run one inline command and return the first line of the answer (RESP)."""
        with (
            socket.create_connection((LOOPBACK, self.port), ANSWER_SECONDS) as connection,
            connection.makefile("rwb") as stream,
        ):
            stream.write(f"{command}\r\n".encode())
            stream.flush()
            return stream.readline().decode().rstrip("\r\n")

    def flush_all(self) -> None:
        """Forget every key of every database."""
        answer = self.execute("FLUSHALL")
        assert answer == "+OK", answer
