"""A domain on its way to us: its old name server, its parent's, its owner, and time that passes."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers.nsd import Nsd
from tests.servers.unbound import Unbound
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd, api
from watchducks.model.signing import Phase, Signing

# As in test_scan_of_a_site: port 53 of loopback addresses of this process alone.
PORT = 53
_HOST = f"{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}"
OLD, PARENT = f"127.103.{_HOST}", f"127.104.{_HOST}"
OURS = ("ns1.watchducks.example", "ns2.watchducks.example")
# The follower's three seconds, a look, and the feed.
LOOK_SECONDS = 15.0

START = "$TTL 300\n@ SOA ns1.old.test. hostmaster.old.test. 1 7200 900 1209600 300\n"
TEST = START + f"@ NS a.nic\na.nic A {PARENT}\nns1.old A {OLD}\n"
ELSEWHERE = TEST + "ducks NS ns1.old\n"
DELEGATED = TEST + "".join(f"ducks NS {name}.\n" for name in OURS)
DUCKS = START + "@ NS ns1.old.test.\n@ A 192.0.2.80\n"


@contextmanager
def old_and_parent(
    make_directory: Callable[[], Path], unbound: Unbound
) -> Iterator[tuple[Nsd, Nsd]]:
    """Run the old name server of ducks.test, and its parent's, which delegates to that."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
            trial.bind((OLD, PORT))
    except PermissionError:
        if os.environ.get("CI"):
            raise
        pytest.skip("only root may bind port 53 (or sysctl net.ipv4.ip_unprivileged_port_start=53)")
    old, parent = (Nsd(make_directory(), address=address, port=PORT) for address in (OLD, PARENT))
    old.serve({"ducks.test": DUCKS})
    parent.serve({"test": ELSEWHERE})
    try:
        old.start()
        parent.start()
        unbound.know({"test": [(PARENT, PORT)], "ducks.test": [(OLD, PORT)]})
        yield old, parent
    finally:
        old.stop()
        parent.stop()


class Console:
    """The owners' side of a running appliance."""

    def __init__(self, running: Twistd) -> None:
        self._sites = f"{running.console}/api/v1/sites"

    def register(self, name: str, origin: str) -> str:
        site = {
            "name": name,
            "domain": "ducks.test",
            "origin": origin,
            "email": f"{name}@ducks.test",
        }
        code, answer = api("POST", self._sites, site)
        assert code == 201, answer
        token: str = answer["token"]
        return token

    def site(self, name: str, token: str | None = None) -> Any:
        return api("GET", f"{self._sites}/{name}", token=token)[1]

    def look(self, name: str, token: str) -> None:
        """Have it looked at, as soon as the owner may."""
        url = f"{self._sites}/{name}/check"
        wait_until(lambda: api("POST", url, {}, token)[0] == 202, "a look", LOOK_SECONDS)

    def becomes(self, name: str, state: str) -> None:
        wait_until(lambda: self.site(name)["state"] == state, f"{name} to be {state}", LOOK_SECONDS)

    def waits_for(self, name: str, token: str, code: str) -> Any:
        """Wait until that is what the site's way waits for; return the step."""

        def there() -> Any:
            steps = self.site(name, token)["progress"]["steps"]
            now = next((step for step in steps if step["state"] == "now"), None)
            return now if now is not None and now["reason"]["code"] == code else None

        return wait_until(there, f"{name} to wait: {code}", LOOK_SECONDS)


def move_on(database: Path, phase: Phase) -> None:
    """Let the days pass that a phase takes: in the registry, as if they had."""
    with sqlite3.connect(database) as connection:
        (packed,) = connection.execute("SELECT signing FROM sites").fetchone()
        signing = Signing(phase, 0, Signing.unpack(packed).keys)
        connection.execute("UPDATE registry SET revision = revision + 1")
        connection.execute(
            "UPDATE sites SET signing = ?, revision = (SELECT revision FROM registry)",
            (signing.pack(),),
        )
    connection.close()
