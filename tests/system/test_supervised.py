"""The real twistd as systemd would run it: sockets by name, and signs of life."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable
from typing import Final

import pytest

from tests.servers.process import ServerProcess, find_program
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd, api, curl_through, dig
from tests.system.origin import Origin

HEALTH: Final = "/.well-known/watchducks/health"


class Activated(ServerProcess):
    """A twistd that gets descriptors from its parent, as from systemd.

    :ivar sockets: name -> what is handed over under it, in order; bound by whoever made them.
    """

    name = "twistd watchducks with inherited sockets"

    def __init__(self, twistd: Twistd, sockets: list[tuple[str, socket.socket]]) -> None:
        super().__init__(twistd.directory)
        self._twistd = twistd
        self._names = [name for name, _ in sockets]
        # Above those that they become, or one would be closed by the move of another.
        self._copies = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 100) for _, one in sockets]
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.setblocking(False)
        self._address = f"@watchducks-test-{os.getpid()}-{id(self)}"
        self.notify.bind(f"\0{self._address[1:]}")
        self.heard: list[str] = []

    def command(self) -> list[str]:
        # Numbered from 3 on, as sd_listen_fds(3) has them; the shell's process becomes twistd.
        moves = " ".join(f"{3 + at}<&{copy}" for at, copy in enumerate(self._copies))
        environment = (
            f"LISTEN_FDS={len(self._names)} LISTEN_FDNAMES={':'.join(self._names)} LISTEN_PID=$$"
            f" NOTIFY_SOCKET={self._address} WATCHDOG_USEC=400000"
        )
        # Not sh: Debian's knows no descriptor above 9.
        script = f'exec {moves}; export {environment}; exec "$@"'
        return [find_program("bash"), "-c", script, "bash", *self._twistd.command()]

    def descriptors(self) -> tuple[int, ...]:
        return tuple(self._copies)

    def close(self) -> None:
        self.stop()
        self.notify.close()
        for copy in self._copies:
            os.close(copy)

    def answers(self) -> bool:
        self.hear()
        return any(line.startswith("READY=1") for line in self.heard)

    def heard_often(self, line: str) -> bool:
        self.hear()
        return self.heard.count(line) > 2

    def hear(self) -> None:
        while True:
            try:
                self.heard += self.notify.recv(4096).decode().split("\n")
            except BlockingIOError:
                return


def bound(kind: socket.SocketKind, port: int = 0) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    if kind == socket.SOCK_STREAM:
        made.listen(100)
    return made


@pytest.mark.parametrize("workers", [0, 2])
def test_sockets_of_systemd_and_signs_of_life(
    twistd: Callable[..., Twistd], origin: Origin, workers: int
) -> None:
    http, console = bound(socket.SOCK_STREAM), bound(socket.SOCK_STREAM)
    dns_tcp = bound(socket.SOCK_STREAM)
    dns_udp = bound(socket.SOCK_DGRAM, dns_tcp.getsockname()[1])
    given = [("dns", dns_tcp), ("console", console), ("http", http), ("dns", dns_udp)]
    port = http.getsockname()[1]
    url = f"http://127.0.0.1:{console.getsockname()[1]}"
    settings = {
        "node": {"workers": workers},
        "proxy": {"http": ["systemd:domain=INET:name=http"], "https": ["tcp:0"]},
        "nameserver": {
            "listen": ["systemd:dns"],
            "health": {"targets": [f"http://127.0.0.1:{port}{HEALTH}"]},
        },
        "console": {"http": ["systemd:console"], "url": url},
    }
    server = Activated(twistd(settings), given)
    try:
        server.start()
        assert f"MAINPID={server.pid}" in server.heard
        assert "STATUS=ready as proxy, nameserver, console" in server.heard
        fields = {"name": "ducks", "domain": "www.ducks.example", "origin": origin.url}
        fields |= {"email": "owner@ducks.example", "cohort": "test"}
        assert api("POST", f"{url}/api/v1/sites", fields)[0] == 201
        url_of_site = f"http://www.ducks.example:{port}/a"
        wait_until(
            lambda: (
                curl_through(("127.0.0.1", port), url_of_site).stdout
                == f"the origin of www.ducks.example:{port} /a\n"
            ),
            "the site",
            5,
        )
        dns = dns_udp.getsockname()[1]
        wait_until(
            lambda: all(
                dig(dns, "www.ducks.example", "A", way) == ["127.0.0.1"]
                for way in ("+notcp", "+tcp")
            ),
            "DNS",
            5,
        )

        server.heard.clear()
        wait_until(lambda: server.heard_often("WATCHDOG=1"), "signs of life", 5)
        server.stop()
        server.hear()
        assert "STOPPING=1" in server.heard
        # What comes now waits for the next process: nobody was told that the port is closed.
        with socket.create_connection(("127.0.0.1", port), 5):
            pass
    finally:
        server.close()
        for _, one in given:
            one.close()


def test_a_socket_that_systemd_did_not_give(twistd: Callable[..., Twistd]) -> None:
    code, said = twistd({"proxy": {"http": ["systemd:http"]}}).fails_to_start()
    assert code == 1
    assert "watchducks: proxy.http: systemd:http: cannot listen: systemd gave no such" in said
