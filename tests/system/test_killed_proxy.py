"""kill -9 of the proxy, under load and as an answer arrives: what arrived has its row, once."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.servers.clickhouse import ClickHouse
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd, api
from tests.system.origin import Origin

HOST: Final = "www.ducks.example"
ROUNDS: Final = 20
VISITORS: Final = 4
# How many answers one of the visitors gets before he kills the proxy. By then some rows are
# shipped, some are in a sealed segment, and some in the open one.
FEWEST, MOST = 1, 40
FLUSH_SECONDS: Final = 0.1


class Visitor(threading.Thread):
    """Asks for one page after the other, each of them once, until the proxy is gone.

    :ivar answered: the paths whose answers arrived completely.
    """

    def __init__(self, proxy: Twistd, name: str, last: int = 0) -> None:
        """:param last: the number of the answer with whose last byte the proxy is killed."""
        super().__init__(daemon=True)
        self._proxy = proxy.proxy
        self._pid = proxy.pid
        self._prefix = name
        self._last = last
        self.answered: list[str] = []
        self.asked = 0

    def run(self) -> None:
        try:
            with socket.create_connection(self._proxy, 10) as connection:
                answers = connection.makefile("rb")
                for self.asked in itertools.count(1):
                    path = f"/{self._prefix}-{self.asked}"
                    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                    if not self._took_whole(answers):
                        return
                    if self.asked == self._last:
                        # At once: the turn that sent it may not be over.
                        os.kill(self._pid, signal.SIGKILL)
                    self.answered.append(path)
        except OSError:
            return  # killed

    @staticmethod
    def _took_whole(answers: Any) -> bool:
        """Read one answer; return whether all of it came."""
        length = None
        while (line := answers.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return length is not None and len(answers.read(length)) == length


@pytest.mark.timeout(180)
def test_an_answer_that_arrived_has_its_row_once_whenever_the_proxy_is_killed(
    twistd: Callable[..., Twistd], clickhouse: ClickHouse, origin: Origin
) -> None:
    url = clickhouse.fresh_database()
    settings: dict[str, dict[str, Any]] = {
        "node": {"roles": ["proxy", "console"]},
        "logs": {"url": url, "flush_seconds": FLUSH_SECONDS},
    }
    proxy = twistd(settings)
    proxy.start()
    fields = {"name": "ducks", "domain": HOST, "origin": origin.url, "cohort": "test"}
    fields["email"] = "owner@ducks.example"
    assert api("POST", f"{proxy.console}/api/v1/sites", fields)[0] == 201
    proxy.kill()
    settings["node"]["roles"] = ["proxy"]

    chance = random.Random(1)
    answered: list[str] = []
    asked = 0
    for number in range(ROUNDS):
        proxy.start()
        visitors = [
            Visitor(proxy, f"{number}-{n}", chance.randint(FEWEST, MOST) if n == 0 else 0)
            for n in range(VISITORS)
        ]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join(20)
            assert not visitor.is_alive()
            answered += visitor.answered
            asked += visitor.asked
        proxy.kill()  # it is dead; this reaps it

    proxy.start()
    spool = proxy.data_dir / "spool"
    wait_until(lambda: not list(spool.glob("*.*")), "the spool to be empty", 30)
    database = url.rpartition("/")[2]
    rows = Counter(
        dict(clickhouse.execute(f"SELECT path, count() FROM {database}.requests GROUP BY path"))
    )
    assert len(answered) > 10 * ROUNDS, "too little was asked to see anything"
    assert [path for path in answered if path not in rows] == []
    assert [path for path, count in rows.items() if count > 1] == []
    # What was asked and not answered may have a row: one for each visitor of each round at most.
    assert len(rows) <= asked <= len(answered) + ROUNDS * VISITORS
