"""`workers = 2`: what the keeper knows reaches its edges, and no death costs more than its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509

from tests.servers.clickhouse import ClickHouse
from tests.servers.ports import free_port
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd, api, dig
from tests.system.origin import ADDRESS, Origin
from tests.system.steady import Beside, Visitors
from watchducks.demo.authority import Authority

HOST: Final = "www.ducks.example"
EDGES: Final = 2
# What is new has to be everywhere within this.
REACHES_SECONDS: Final = 2.0
# An edge is back in a second; the rest is for a busy machine.
BACK_SECONDS: Final = 5.0
# More than the visitors' own WebSockets take, which shall not be cut off.
DRAIN_SECONDS: Final = 10
KINDS: Final = ("fresh", "kept", "tls", "resumed", "http2", "websocket", "dns-udp", "dns-tcp")


def processes_of(session: int) -> list[tuple[int, int]]:
    """Return number and process id of the edges of a twistd, dead or alive, by its session; while
    they are replaced, there are two of a number."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # pid (comm) state ppid pgrp session: comm may hold anything but ours holds no ")".
            comm, _, rest = (directory / "stat").read_text().partition("(")[2].rpartition(")")
            state, _, _, of_session = rest.split()[:4]
            if comm.startswith("ducks-edge-") and int(of_session) == session and state != "Z":
                found.append((int(comm.rpartition("-")[2]), int(directory.name)))
    return found


def edges_of(session: int) -> dict[int, int]:
    """Return number -> process id."""
    return dict(processes_of(session))


class Keeper:
    """A twistd with edges, and its site."""

    def __init__(self, twistd: Twistd) -> None:
        self.twistd = twistd
        self.session = 0

    def start(self) -> None:
        self.twistd.start()
        self.session = self.twistd.pid

    def edges(self) -> dict[int, int]:
        return edges_of(self.session)

    def end(self) -> None:
        """Leave no process behind, whatever a test has done."""
        self.twistd.stop()
        for _, pid in processes_of(self.session):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def port(self) -> int:
        """Where visitors come by http."""
        return self.twistd.ports["http"]

    def register(self, origin: str) -> str:
        """Register the site and wait until every edge knows it; return its owner's token."""
        fields = {"name": "ducks", "domain": HOST, "origin": origin}
        fields |= {"email": "owner@ducks.example", "cohort": "test"}
        code, site = api("POST", f"{self.twistd.console}/api/v1/sites", fields)
        assert code == 201
        # The connections of a loop come to both edges.
        wait_until(
            lambda: {ask(self.port, "/new") for _ in range(20)} == {200}, "routes", REACHES_SECONDS
        )
        return str(site["token"])

    def certify(self, directory: Path, seconds: float) -> None:
        """Give the site a certificate, and wait until every edge shows it."""
        folder = self.twistd.data_dir / "certificates" / "ducks"
        chain, key = Authority(directory).issue([HOST])
        folder.mkdir(parents=True)
        (folder / "privkey.pem").write_bytes(key)
        (folder / "fullchain.pem").write_bytes(chain)
        https = self.twistd.ports["https"]
        wait_until(
            lambda: {presents(https, HOST) for _ in range(10)} == {HOST},
            "certificates",
            seconds,
        )

    def edges_beside(self, before: dict[int, int]) -> set[int]:
        """Return the process ids of the edges that were not there before."""
        return {pid for _, pid in processes_of(self.session)} - set(before.values())


def ask(port: int, path: str = "/", host: str = HOST) -> int:
    """Ask on a new connection; return the answer's status."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = connection.makefile("rb").read()
    return int(answer.split(b" ", 2)[1]) if answer else 0


class Load(threading.Thread):
    """Visitors: one connection after the other, of a few requests each.

    :ivar answered: paths. :ivar failed: what went wrong instead of an answer.
    """

    def __init__(self, port: int, name: str) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._name = name
        self._stop_now = threading.Event()
        self.answered: list[str] = []
        self.failed: list[str] = []

    def run(self) -> None:
        number = 0
        while not self._stop_now.is_set():
            number += 1
            try:
                self._visit(f"/{self._name}-{number}")
            except OSError as error:
                self.failed.append(repr(error))

    def _visit(self, path: str) -> None:
        with socket.create_connection(("127.0.0.1", self._port), 10) as connection:
            answers = connection.makefile("rb")
            for number in range(5):
                target = f"{path}-{number}"
                connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                status, length, close = answers.readline(), 0, False
                while (line := answers.readline()) not in (b"\r\n", b""):
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                    close = close or line == b"Connection: close\r\n"
                if not status.startswith(b"HTTP/1.1 200 ") or len(answers.read(length)) != length:
                    self.failed.append(f"{target}: {status!r}")
                    return
                self.answered.append(target)
                if close:
                    return

    def stop(self) -> None:
        self._stop_now.set()
        self.join(20)
        assert not self.is_alive()


class Loads:
    """Some of them, in a ``with``: they run when it begins, and have ended after it.

    :ivar failed: what went wrong. :ivar answered: paths.
    """

    def __init__(self, port: int, count: int) -> None:
        self._all = [Load(port, f"visitor-{number}") for number in range(count)]
        self.failed: list[str] = []
        self.answered: list[str] = []

    def __enter__(self) -> Loads:
        for one in self._all:
            one.start()
        self.go_on()
        return self

    def go_on(self) -> None:
        """Return when each has had some more answers."""
        seen = [len(one.answered) for one in self._all]
        wait_until(
            lambda: all(len(o.answered) > n + 20 for o, n in zip(self._all, seen, strict=True)),
            "load",
            20,
        )

    def __exit__(self, *_: object) -> None:
        for one in self._all:
            one.stop()
            self.failed += one.failed
            self.answered += one.answered


@pytest.fixture
def keeper(
    twistd: Callable[..., Twistd], clickhouse: ClickHouse
) -> Iterator[Callable[..., Keeper]]:
    made: list[Keeper] = []

    def make(**more: dict[str, Any]) -> Keeper:
        settings: dict[str, dict[str, Any]] = {
            "node": {"workers": EDGES},
            "logs": {"url": clickhouse.fresh_database(), "flush_seconds": 0.2},
        }
        for section, values in more.items():
            settings.setdefault(section, {}).update(values)
        made.append(Keeper(twistd(settings)))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.end()


def rows_of(clickhouse: ClickHouse, keeper: Keeper) -> Counter[str]:
    spool = keeper.twistd.data_dir / "spool"
    wait_until(lambda: not list(spool.glob("*.*")), "the spool to be empty", 30)
    database = keeper.twistd.document()["logs"]["url"].rpartition("/")[2]
    query = f"SELECT path, count() FROM {database}.requests GROUP BY path"
    return Counter(dict(clickhouse.execute(query)))


def assert_counted_once(clickhouse: ClickHouse, keeper: Keeper, load: Loads) -> None:
    rows = rows_of(clickhouse, keeper)
    assert [path for path in load.answered if rows[path] != 1] == []


@pytest.mark.timeout(120)
def test_what_is_new_reaches_every_edge_and_every_row_is_counted_once(
    keeper: Callable[..., Keeper], clickhouse: ClickHouse, origin: Origin, tmp_path: Path
) -> None:
    health = ThreadingHTTPServer(("127.0.0.1", 0), Healthy)
    threading.Thread(target=health.serve_forever, daemon=True).start()
    targets = [f"http://127.0.0.1:{health.server_port}/"]
    running = keeper(nameserver={"health": {"targets": targets, "interval": 0.2, "down_after": 2}})
    port, https = running.twistd.ports["http"], running.twistd.ports["https"]
    assert sorted(running.edges()) == list(range(EDGES))

    # A site, of which an unknown host becomes a known one.
    assert ask(port) == 404
    token = running.register(origin.url)
    wait_until(
        lambda: all(
            dig(running.twistd.ports["dns"], HOST, "A", way) == ["127.0.0.1"]
            for way in ("+tcp", *["+notcp"] * 6)
        ),
        "zones",
        REACHES_SECONDS,
    )

    # A verdict.
    health.shutdown()
    health.server_close()
    wait_until(
        lambda: all(
            dig(running.twistd.ports["dns"], HOST, "A", way) == ["127.0.0.2"]
            for way in ("+tcp", *["+notcp"] * 6)
        ),
        "a verdict",
        REACHES_SECONDS + 2 * 0.2,
    )

    # A certificate.
    running.certify(tmp_path, REACHES_SECONDS)

    # A session is resumed by whichever edge, also by those that come after these.
    client = TlsClient(https, HOST)
    assert not client.resumes()
    assert all(client.resumes() for _ in range(10))
    for pid in running.edges().values():
        os.kill(pid, signal.SIGKILL)
    ready = f"{running.twistd.console}/readyz"
    wait_until(lambda: api("GET", ready)[0] == 503, "the edges to be missed", BACK_SECONDS)
    wait_until(lambda: api("GET", ready)[0] == 200, "other edges", BACK_SECONDS)
    assert all(client.resumes() for _ in range(10))

    # Another origin, and then none.
    with Origin() as other:
        url = f"{running.twistd.console}/api/v1/sites/ducks"
        assert api("PATCH", url, {"origin": other.url}, token)[0] == 200
        wait_until(lambda: ask(port, "/moved") == 200, "the new origin", REACHES_SECONDS)
        assert api("DELETE", url, None, token)[0] in (200, 204)
        wait_until(
            lambda: {ask(port, "/x") for _ in range(20)} == {404}, "removal", REACHES_SECONDS
        )


class Healthy(BaseHTTPRequestHandler):
    """Says that the proxy is well, until its server is gone."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name upstream
        """Say nothing."""


class TlsClient:
    """A visitor who offers the session of his first connection with each later one."""

    def __init__(self, port: int, name: str) -> None:
        self._port = port
        self._name = name
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self._session: ssl.SSLSession | None = None

    def resumes(self) -> bool:
        """Ask for a page; return whether the session was resumed."""
        with (
            socket.create_connection(("127.0.0.1", self._port), 10) as plain,
            self._context.wrap_socket(
                plain, server_hostname=self._name, session=self._session
            ) as tls,
        ):
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {self._name}\r\n\r\n".encode())
            assert tls.recv(4096).startswith(b"HTTP/1.1 200 ")
            self._session = self._session or tls.session
            return bool(tls.session_reused)


def presents(port: int, name: str) -> str:
    """Return the first name in the certificate that a visitor of ``name`` is shown; "": none, as he
    is passed through to an origin that speaks no TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname=name) as tls,
        ):
            der = tls.getpeercert(binary_form=True)
    except OSError:
        return ""
    assert der is not None
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return str(names.value.get_values_for_type(x509.DNSName)[0])


@pytest.mark.timeout(120)
def test_an_edge_that_is_killed_is_back_in_a_second_and_no_row_is_lost(
    keeper: Callable[..., Keeper], clickhouse: ClickHouse, origin: Origin
) -> None:
    running = keeper()
    running.register(origin.url)
    with Loads(running.port, 3) as load:
        before = running.edges()
        os.kill(before[0], signal.SIGKILL)
        wait_until(
            lambda: running.edges().get(0) not in (None, before[0]), "another edge", BACK_SECONDS
        )
        ready = f"{running.twistd.console}/readyz"
        wait_until(lambda: api("GET", ready)[0] == 200, "it to serve", BACK_SECONDS)
        load.go_on()
    assert running.edges()[1] == before[1]
    # Each visitor had at most one connection there.
    assert len(load.failed) <= 3
    assert_counted_once(clickhouse, running, load)


@pytest.mark.timeout(120)
def test_a_killed_keeper_leaves_the_edges_serving_and_the_next_takes_their_place(
    keeper: Callable[..., Keeper], clickhouse: ClickHouse, origin: Origin
) -> None:
    running = keeper()
    running.register(origin.url)
    before, session = running.edges(), running.session
    with Loads(running.port, 2) as load:
        running.twistd.kill()
        run = running.twistd.data_dir / "run"
        wait_until(lambda: len(list(run.glob("orphan-*"))) == EDGES, "the edges to notice", 5)
        load.go_on()
        assert dig(running.twistd.ports["dns"], HOST, "A") == ["127.0.0.1"]
        assert running.edges() == before
        running.start()
        try:
            wait_until(lambda: not edges_of(session), "the old edges to end", 20)
            assert sorted(running.edges()) == list(range(EDGES))
        finally:
            for pid in edges_of(session).values():
                os.kill(pid, signal.SIGKILL)
        load.go_on()
    assert load.failed == []
    assert_counted_once(clickhouse, running, load)


def reload(keeper: Keeper, **changes: dict[str, Any]) -> str:
    """Write a changed configuration, send SIGHUP; return what the log says of it."""
    log = keeper.twistd.log
    before = len(log.read_text())
    for section, values in changes.items():
        keeper.twistd.change(section, values)
    keeper.twistd.write_config()
    os.kill(keeper.twistd.pid, signal.SIGHUP)
    words = ("the edges are replaced", "the configuration stays as it was")
    wait_until(lambda: any(w in log.read_text()[before:] for w in words), "the reload", 30)
    return log.read_text()[before:]


class WebSocket:
    """One that stays open, and says whether it still echoes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._socket.sendall(
            f"GET /echo HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._socket.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")

    def echoes(self) -> bool:
        try:
            self._socket.sendall(b"quack")
            return self._socket.recv(5, socket.MSG_WAITALL) == b"quack"
        except ConnectionError:
            return False

    def close(self) -> None:
        self._socket.close()


@pytest.mark.timeout(180)
def test_a_rolling_restart_loses_no_request_and_a_bad_configuration_is_refused(
    keeper: Callable[..., Keeper], clickhouse: ClickHouse, tmp_path: Path
) -> None:
    """By HTTP/1.1, TLS and HTTP/2. A WebSocket lives on for ``drain_seconds``."""
    running = keeper(node={"drain_seconds": DRAIN_SECONDS}, nameserver={"rrl_per_second": 0})
    port = free_port("tcp")
    origin = Beside(ADDRESS, "--origin", str(port))
    running.register(f"http://{ADDRESS}:{port}")
    running.certify(tmp_path, 20)
    ports = [str(running.twistd.ports[kind]) for kind in ("http", "https", "dns")]
    before_it = rows_of(clickhouse, running).total()
    with Visitors("127.0.0.1", HOST, "--ports", *ports, "--only", *KINDS) as visitors:
        visitors.wait_for(200)
        websocket, began = WebSocket(running.port), time.monotonic()
        before = running.edges()
        said = reload(running, proxy={"client_requests_per_second": 10_000})
        assert "changed: proxy.client_requests_per_second" in said
        assert websocket.echoes()

        # Meanwhile what cannot be is refused.
        new = running.edges_beside(before)
        assert len(new) == EDGES
        said = reload(running, proxy={"client_requests_per_second": -1})
        assert "proxy.client_requests_per_second = -1: accepted is a number" in said
        said = reload(running, proxy={"client_requests_per_second": 0}, logs={"flush_rows": 77})
        assert "these need a restart: logs.flush_rows" in said
        said = reload(
            running, logs={"flush_rows": 10_000}, proxy={"http": ["tcp:1:interface=192.0.2.1"]}
        )
        assert "the configuration stays as it was" in said
        assert running.edges_beside(before) == new

        wait_until(lambda: not websocket.echoes(), "its end", DRAIN_SECONDS + 20, every=0.2)
        assert time.monotonic() - began > DRAIN_SECONDS
        wait_until(lambda: set(running.edges().values()) == new, "the old edges to end", 20)
    websocket.close()
    origin.end()
    assert not visitors.found["failed"], visitors.found
    assert visitors.found["done"].keys() == set(KINDS)
    # And the WebSocket's.
    assert rows_of(clickhouse, running).total() == before_it + visitors.found["rows"] + 1
