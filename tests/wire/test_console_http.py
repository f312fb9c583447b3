"""The console on the wire: limits, headers, hosts, methods, start and stop."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, cast

import pytest
import pytest_twisted
import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure

from tests.unit.console.driver import HTML, Driver, parse_reply, settings
from tests.unit.console.fakes import (
    ADMIN,
    FakeAccounts,
    FakeAnalytics,
    FakeBlocks,
    FakeExport,
    FakeHosts,
    FakeLetters,
    FakeLooking,
    FakeOrigins,
    FakeReadiness,
    FakeScans,
    FakeSites,
    FakeThreads,
    FakeUnsubscribing,
)
from watchducks.background import StartupError
from watchducks.console.answers import to_json
from watchducks.console.app import Console
from watchducks.console.http import (
    LINGER_SECONDS,
    MAX_BODY_BYTES,
    MAX_LARGE_BODIES,
    MAX_RECORDS_BYTES,
)
from watchducks.stores.memory import MemoryCache

GET = b"GET %b HTTP/1.1\r\nHost: console.example\r\n%b\r\n"


def test_every_answer_is_protected_and_names_no_server() -> None:
    driver = Driver()
    for path in ("/", "/register", "/nothing", "/api/v1/sites", "/api/v1/no", "/static/x"):
        reply = driver.get(path)
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "same-origin"
        assert "server" not in reply.headers
        assert " style=" not in reply.text
        assert "<style" not in reply.text
        assert "<script>" not in reply.text


def test_head_answers_like_get_without_the_body() -> None:
    driver = Driver()
    for path in ("/", "/register", "/nothing", "/api/v1/sites", "/healthz", "/static/x"):
        got, head = driver.ask("GET", path), driver.ask("HEAD", path)
        assert (head.status, head.body) == (got.status, b"")
        if path != "/register":  # its hidden field is another one each time
            assert head.headers["content-length"] == got.headers["content-length"]


def test_unknown_addresses_are_a_page_for_people_and_a_document_for_programs() -> None:
    driver = Driver()
    page = driver.get("/nothing")
    assert (page.status, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is nothing at this address." in page.text
    document = driver.ask("GET", "/nothing")
    assert document.headers["content-type"] == "application/problem+json"
    assert document.json["status"] == 404
    assert document.json["instance"] == "/nothing"
    assert set(document.json) == {"type", "title", "status", "detail", "instance"}


def test_wrong_methods_are_told_which_are_right() -> None:
    driver = Driver()
    for method, path, allowed in (
        ("POST", "/", {"GET", "HEAD"}),
        ("DELETE", "/register", {"GET", "HEAD", "POST"}),
        ("PUT", "/api/v1/sites", {"GET", "HEAD", "POST"}),
        ("POST", "/static/x", {"GET", "HEAD"}),
        ("BREW", "/", {"GET", "HEAD"}),
    ):
        reply = driver.ask(method, path)
        assert reply.status == 405
        assert allowed <= set(reply.headers["allow"].split(", "))


@pytest.mark.parametrize("path", ["/%ff", "/?a=%ff", "/?%ff=1", "/sites/%00", "/?a=%00", "/\xb0"])
def test_addresses_that_are_no_text_are_refused(path: str) -> None:
    assert Driver().get(path).status == 400


@pytest.mark.parametrize("path", ["*", "//", "//evil.example/x", "http://evil.example/", "/a//b"])
def test_odd_addresses_lead_nowhere(path: str) -> None:
    reply = Driver().get(path)
    assert reply.status in (400, 404)
    assert "location" not in reply.headers


def test_other_hosts_are_misdirected() -> None:
    driver = Driver()
    assert driver.ask("GET", "/", host="evil.example").status == 421
    assert driver.ask("GET", "/healthz", host="evil.example").status == 200
    assert driver.ask("GET", "/", host="127.0.0.1:8000").status == 200
    assert driver.raw(b"GET / HTTP/1.1\r\n\r\n").status == 400


def test_a_request_may_come_byte_by_byte() -> None:
    reply = Driver().raw(GET % (b"/healthz", b"Accept: */*\r\n"), step=1)
    assert (reply.status, reply.json) == (200, {"status": "ok"})


def test_a_body_that_says_it_is_too_large_is_refused_at_once() -> None:
    driver = Driver()
    protocol, transport = driver.connect()
    head = b"POST /api/v1/sites HTTP/1.1\r\nHost: console.example\r\nContent-Length: %d\r\n\r\n"
    protocol.dataReceived(head % (2 * MAX_BODY_BYTES))
    reply = parse_reply(transport.value())
    assert (reply.status, reply.json["status"]) == (413, 413)
    assert reply.headers["connection"] == "close"
    protocol.dataReceived(b"x" * (MAX_BODY_BYTES + 1))
    assert transport.value().count(b"HTTP/1.1") == 1
    assert not transport.disconnecting, "closing now would lose the answer on its way"
    driver.clock.advance(LINGER_SECONDS)
    assert transport.disconnecting


@pytest.mark.parametrize("step", [0, 1, 7000])
def test_chunks_that_become_too_many_are_refused(step: int) -> None:
    driver = Driver()
    size = 4000 if step == 1 else MAX_BODY_BYTES
    chunks = b"".join(b"%x\r\n%b\r\n" % (size, b"y" * size) for _ in range(MAX_BODY_BYTES // size))
    request = (
        b"POST /register HTTP/1.1\r\nHost: console.example\r\nAccept: text/html\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"fa0\r\n" + b"z" * 4000 + b"\r\n0\r\n\r\n"
    )
    reply = driver.raw(request, step=step)
    assert (reply.status, reply.headers["content-type"]) == (413, "text/html; charset=utf-8")
    assert driver.sites.by_key == {}


def test_a_body_just_small_enough_is_read() -> None:
    body = b'{"name": "' + b"x" * (MAX_BODY_BYTES - 12) + b'"}'
    assert len(body) == MAX_BODY_BYTES
    headers = {"Content-Type": "application/json"}
    assert Driver().ask("POST", "/api/v1/sites", body, headers).status == 422


def put(path: bytes, octets: int) -> bytes:
    head = b"PUT %b HTTP/1.1\r\nHost: console.example\r\nContent-Length: %d\r\n\r\n"
    return head % (path, octets)


RECORDS = b"/api/v1/sites/ducks/records"


def test_only_records_may_be_large() -> None:
    driver = Driver()
    body = b" " * MAX_RECORDS_BYTES
    assert driver.raw(put(RECORDS, len(body)) + body, step=50_000).status == 401
    assert driver.raw(put(RECORDS, len(body) + 1)).status == 413
    assert driver.raw(put(b"/api/v1/sites/ducks?/records", MAX_BODY_BYTES + 1)).status == 413


def test_large_requests_at_the_same_time_are_bounded() -> None:
    driver = Driver()
    for _ in range(2):
        large = [driver.connect() for _ in range(MAX_LARGE_BODIES)]
        for protocol, _ in large:
            protocol.dataReceived(put(RECORDS, MAX_BODY_BYTES + 1))
        refused = driver.raw(put(RECORDS, MAX_BODY_BYTES + 1))
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        # One that is done, and those that leave, make room.
        protocol, transport = large.pop()
        driver.send(protocol, b" " * (MAX_BODY_BYTES + 1))
        assert parse_reply(transport.value()).status == 401
        driver.connect()[0].dataReceived(put(RECORDS, MAX_BODY_BYTES + 1))
        assert driver.raw(put(RECORDS, MAX_BODY_BYTES + 1)).status == 503
        for protocol in list(driver.console.site.large):
            cast(Any, protocol.channel).connectionLost(Failure(ConnectionDone()))
        assert not driver.console.site.large


def test_an_idle_connection_is_closed_and_a_lost_one_leaves_nothing() -> None:
    driver = Driver()
    idle, transport = driver.connect()
    driver.clock.advance(31)
    assert transport.disconnecting
    idle.connectionLost(Failure(ConnectionDone()))
    protocol, _ = driver.connect()
    protocol.dataReceived(
        b"POST / HTTP/1.1\r\nHost: console.example\r\nContent-Length: 999999\r\n\r\n"
    )
    protocol.connectionLost(Failure(ConnectionDone()))
    assert driver.clock.getDelayedCalls() == []
    assert driver.console.site.busy == set()


def test_a_browser_that_leaves_ends_what_was_done_for_it() -> None:
    driver = Driver()
    cancelled: list[bool] = []
    driver.sites.hang = Deferred(lambda _: cancelled.append(True))
    protocol, transport = driver.connect()
    with capturedLogs() as events:
        driver.send(protocol, GET % (b"/sites/ducks", b""))
        assert len(driver.console.site.busy) == 1
        protocol.connectionLost(Failure(ConnectionDone()))
    assert cancelled == [True]
    assert driver.console.site.busy == set()
    assert transport.value() == b""
    assert [event for event in events if event["log_level"] >= LogLevel.warn] == []


def test_a_fault_of_ours_is_logged_and_tells_nothing() -> None:
    driver = Driver()
    driver.sites.broken = True
    with capturedLogs() as events:
        replies = [driver.get("/"), driver.ask("GET", "/api/v1/sites")]
    for reply in replies:
        assert reply.status == 500
        assert "secret detail" not in reply.text
        assert "Traceback" not in reply.text
    assert len([event for event in events if event["log_level"] is LogLevel.critical]) == 2


def test_json_never_holds_what_json_does_not_know() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json({"mean_ms": float("nan")})


def test_a_database_that_is_away_is_told_with_when_to_try_again() -> None:
    driver = Driver()
    driver.sites.away = True
    for reply in (driver.get("/"), driver.ask("GET", "/api/v1/sites")):
        assert reply.status == 503
        assert int(reply.headers["retry-after"]) > 0
        assert "cannot connect" not in reply.text


def test_readiness_names_the_part_that_is_not() -> None:
    driver = Driver()
    assert driver.ask("GET", "/readyz").status == 200
    driver.readiness.parts = {"registry": True, "logs": False}
    reply = driver.ask("GET", "/readyz")
    assert (reply.status, reply.json["checks"]) == (503, {"registry": True, "logs": False})


def test_metrics_are_for_this_host_and_for_admins() -> None:
    driver = Driver()
    assert driver.ask("GET", "/metrics").status == 401
    assert driver.api("GET", "/metrics", token="wd_nobody").status == 403
    shown = driver.api("GET", "/metrics", token=ADMIN)
    assert shown.status == 200
    assert "python_info" in shown.text
    assert shown.headers["cache-control"] == "no-store"
    driver.address = "127.0.0.1"
    assert driver.ask("GET", "/metrics").status == 200
    # A proxy on this host asks for somebody who is not.
    assert driver.ask("GET", "/metrics", headers={"X-Forwarded-For": "192.0.2.1"}).status == 401


def test_text_is_compressed_if_the_browser_takes_it_but_never_beside_a_secret() -> None:
    driver = Driver()
    gzip = {"Accept-Encoding": "gzip", **HTML}
    assert driver.ask("GET", "/", headers=gzip).headers["content-encoding"] == "gzip"
    assert "content-encoding" not in driver.ask("GET", "/", headers=HTML).headers
    form = driver.ask("GET", "/register", headers=gzip)
    assert "content-encoding" not in form.headers
    assert form.headers["cache-control"] == "no-store"


# --- over real sockets --------------------------------------------------------------------------


def make_console(*endpoints: str) -> Console:
    return Console(
        settings(http=list(endpoints)),
        FakeSites(),
        FakeAnalytics(),
        FakeReadiness(),
        accounts=FakeAccounts(FakeSites()),
        scans=FakeScans(),
        origins=FakeOrigins(),
        letters=FakeLetters(),
        hosts=FakeHosts(),
        unsubscribing=FakeUnsubscribing(),
        blocks=FakeBlocks(FakeSites()),
        looking=FakeLooking(),
        threads=FakeThreads(),
        cache=MemoryCache(cast(Any, reactor)),
        export=FakeExport(),
        reactor=reactor,
    )


@pytest_twisted.ensureDeferred
async def test_it_listens_answers_and_stops() -> None:
    console = make_console("tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1")
    await console.start()
    addresses = list(console.bound_addresses)
    assert len(addresses) == 2
    for host, port in addresses:
        reply = await treq.get(f"http://{host}:{port}/healthz", persistent=False, timeout=5)
        assert (reply.code, await reply.json()) == (200, {"status": "ok"})
    with socket.create_connection(addresses[0], 5) as idle:
        idle.sendall(GET % (b"/healthz", b""))
        assert b"200" in await deferToThread(idle.recv, 4096)
        await console.stop()
        assert await deferToThread(idle.recv, 1) == b"", "an open connection is closed"
    assert console.bound_addresses == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(addresses[0], 5)


@pytest_twisted.ensureDeferred
async def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        console = make_console("tcp:0:interface=127.0.0.1", text)
        with pytest.raises(StartupError) as caught:
            await console.start()
    assert str(caught.value).startswith(f'console.http = "{text}": cannot listen: ')
    assert "\n" not in str(caught.value)
    assert console.bound_addresses == [], "what was bound before is let go"


def _send_all_and_read(address: tuple[str, int], size: int) -> bytes:
    with socket.create_connection(address, 5) as connection:
        connection.settimeout(5)
        connection.sendall(
            b"POST /api/v1/sites HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
        )
        sent: Callable[[bytes], None] = connection.sendall
        sent(b"x" * size)
        said = b""
        while part := connection.recv(65536):
            said += part
        return said


@pytest_twisted.ensureDeferred
async def test_a_client_that_sends_a_huge_body_still_reads_the_answer() -> None:
    console = make_console("tcp:0:interface=127.0.0.1")
    await console.start()
    try:
        address = console.bound_addresses[0]
        said = await deferToThread(_send_all_and_read, address, 3_000_000)
        assert said.startswith(b"HTTP/1.1 413 ")
    finally:
        await console.stop()
