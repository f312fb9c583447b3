"""What goes on beside a soak's traffic: origins that fail, and sites that come and go."""

from __future__ import annotations

import itertools
import socket
import threading
from collections import Counter
from contextlib import suppress
from typing import Any, Final

from tests.servers.ports import LOOPBACK
from tests.system.appliance import Twistd, api

ORIGIN: Final = "127.0.0.2"
# Between two registrations; each with an address of its own, as one may have only so many.
_REGISTER_SECONDS: Final = 0.5


class Trouble:
    """What goes on beside the traffic, in threads: origins that fail, sites that come and go."""

    def __init__(self, appliance: Twistd, failing: list[str]) -> None:
        self._appliance = appliance
        self._failing = failing
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=run, daemon=True) for run in (self._register, self._disappoint)
        ]
        self.registered = 0
        self.refused: Counter[int] = Counter()
        self.failed_visits = 0

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(30)

    def _register(self) -> None:
        url = f"{self._appliance.console}/api/v1/sites"
        for number in itertools.count():
            if self._ended.wait(_REGISTER_SECONDS):
                return
            site = {
                "name": f"soak-{number}",
                "domain": f"www.soak-{number}.example",
                "origin": f"http://{ORIGIN}:9",
                "email": f"owner-{number}@ducks.example",
                "cohort": "soak",
            }
            with suppress(OSError, ValueError):
                status, body = api("POST", url, site)
                if status != 201:
                    self.refused[status] += 1
                    continue
                self.registered += 1
                self._visit(site["domain"])
                api("DELETE", f"{url}/{site['name']}", token=body["token"])

    def _disappoint(self) -> None:
        for number in itertools.count():
            if self._ended.wait(_REGISTER_SECONDS):
                return
            for host in (*self._failing, f"nobody-{number}.example"):
                self._visit(host)

    def _visit(self, host: str) -> None:
        address = (LOOPBACK, self._appliance.ports["http"])
        with suppress(OSError), socket.create_connection(address, 2) as visitor:
            visitor.settimeout(1)
            visitor.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            # Whoever gives up early is a part of it.
            visitor.recv(65536)
            self.failed_visits += 1


class Origins:
    """Origins that accept and say nothing, or break off in the middle of an answer."""

    def __init__(self) -> None:
        self._sockets = [socket.create_server((ORIGIN, 0), backlog=256) for _ in range(2)]
        self.silent, self.breaking = (made.getsockname()[1] for made in self._sockets)
        self._held: list[socket.socket] = []
        for made, serve in zip(self._sockets, (self._say_nothing, self._break), strict=True):
            threading.Thread(target=self._accept, args=(made, serve), daemon=True).start()

    def _accept(self, made: socket.socket, serve: Any) -> None:
        with suppress(OSError):
            while True:
                serve(made.accept()[0])

    def _say_nothing(self, connection: socket.socket) -> None:
        self._held.append(connection)
        while len(self._held) > 100:
            self._held.pop(0).close()

    def _break(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(1)
            with suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nquack")

    def close(self) -> None:
        for made in self._sockets:
            made.close()
