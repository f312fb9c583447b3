"""The five doors of a running appliance, fed with whatever Hypothesis thinks of.

Form field, API body, configuration value, DNS packet, HTTP request: each wrong one gets its proper
error, and afterwards the same process still answers, has logged no traceback, and has lost no row.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, Twistd, api, curl_through, dig, run
from tests.system.origin import Origin

# Each example is one or two real exchanges; the wire tests of each door try many more.
few = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

HOST = "www.ducks.example"
# What a good request asks for, and nothing else does.
WELL = "/is-it-well"


class Doors:
    """One appliance with one site, and what every test checks afterwards."""

    def __init__(self, appliance: Twistd, origin: Origin) -> None:
        self.appliance = appliance
        self.origin = origin
        self.pid = appliance.pid
        code, _ = api("POST", f"{appliance.console}/api/v1/sites", self.body())
        assert code == 201
        self.good_requests = 0
        wait_until(lambda: dig(appliance.ports["dns"], HOST), "DNS to know the site", 5)

    def body(self) -> dict[str, Any]:
        return {
            "name": "ducks",
            "domain": HOST,
            "origin": self.origin.url,
            "email": "owner@ducks.example",
            "cohort": "test",
        }

    def ask(self, raw: bytes) -> bytes:
        """Send raw bytes to the proxy and return all it says until it closes, or for a second."""
        with socket.create_connection(self.appliance.proxy, 5) as connection:
            connection.settimeout(0.3)
            said = b""
            try:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    said += part
            except (TimeoutError, ConnectionError):
                pass
            return said

    def http(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.appliance.ports["console"], 10)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            kind = response.getheader("Content-Type", "")
            text = response.read().decode()
        finally:
            connection.close()
        assert "Traceback" not in text
        if response.status >= 400 and path.startswith("/api/"):
            assert kind.startswith("application/problem+json"), kind
            assert json.loads(text)["status"] == response.status
        return response.status, text

    def is_well(self) -> None:
        """The same process serves at every door, and its log has no traceback."""
        assert self.appliance.running
        assert self.appliance.pid == self.pid
        url = f"http://{HOST}:{self.appliance.ports['http']}{WELL}"
        assert "the origin of" in curl_through(self.appliance.proxy, url).stdout
        self.good_requests += 1
        assert dig(self.appliance.ports["dns"], HOST) == ["127.0.0.1"]
        assert api("GET", f"{self.appliance.console}/api/v1/sites/ducks")[0] == 200
        log = self.appliance.log.read_text()
        assert "Traceback" not in log, self.appliance.log_tail()


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    appliance = Twistd(tmp_path_factory.mktemp("doors"), {"logs": {"flush_seconds": 0.5}})
    with Origin() as origin:
        appliance.start()
        try:
            yield Doors(appliance, origin)
        finally:
            appliance.stop()


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80)
fields = st.sampled_from(["name", "domain", "origin", "email", "cohort", "odd"])
json_values = st.recursive(
    values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=4)
)


@pytest.mark.timeout(180)
def test_the_form(doors: Doors) -> None:
    page = doors.http("GET", "/register", b"", {})[1]
    field = re.search(r'name="(__csrf[^"]*)"[^>]*value="([^"]*)"', page)
    assert field, page
    connection = http.client.HTTPConnection("127.0.0.1", doors.appliance.ports["console"], 10)
    connection.request("GET", "/register")
    response = connection.getresponse()
    cookie = response.getheader("Set-Cookie", "").partition(";")[0]
    page = response.read().decode()
    field = re.search(r'name="(__csrf[^"]*)"[^>]*value="([^"]*)"', page)
    assert field
    token = {field[1]: field[2]}

    @few
    @given(st.dictionaries(fields, st.text(max_size=200), max_size=6), st.booleans())
    def feed(form: dict[str, str], with_token: bool) -> None:
        form = {"name": "ducks", **form}  # taken: so that nothing is registered by chance
        sent = {**form, **(token if with_token else {})}
        content = urllib.parse.urlencode(sent, errors="replace").encode()
        headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        status, _ = doors.http("POST", "/register", content, headers)
        assert status in ((400, 422, 429) if with_token else (403, 429)), form

    feed()
    doors.is_well()


@pytest.mark.timeout(180)
def test_the_api(doors: Doors) -> None:
    @few
    @given(json_values.map(json.dumps).map(str.encode) | st.binary(max_size=200))
    def feed(body: bytes) -> None:
        status, _ = doors.http("POST", "/api/v1/sites", body, {"Content-Type": "application/json"})
        assert status in (400, 422, 429), body

    @few
    @given(st.text(max_size=60), st.text(max_size=30), st.text(max_size=30))
    def ask(name: str, range_: str, from_: str) -> None:
        segment = urllib.parse.quote(name, safe="", errors="replace")
        query = urllib.parse.urlencode({"range": range_, "from": from_}, errors="replace")
        status, _ = doors.http("GET", f"/api/v1/sites/{segment}/traffic?{query}", b"", {})
        assert status in (400, 404, 422), (name, range_)

    feed()
    ask()
    doors.is_well()


@pytest.mark.timeout(180)
def test_the_configuration(doors: Doors, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    good = doors.appliance.config.read_text()

    # The command is a process: half a second each.
    @settings(few, max_examples=15)
    @given(st.binary(max_size=100) | st.text(max_size=60).map(str.encode))
    def feed(garbage: bytes) -> None:
        path.write_bytes(good.encode() + b"\n[nameserver.health]\ndown_after = " + garbage + b"\n")
        found = run(BIN / "watchducks", "check", "--config", path)
        assert "Traceback" not in found.stderr
        if found.returncode:
            assert found.returncode == 1
            assert str(path) in found.stderr or "nameserver" in found.stderr

    feed()
    doors.is_well()


@pytest.mark.timeout(180)
def test_the_name_server(doors: Doors) -> None:
    where = ("127.0.0.1", doors.appliance.ports["dns"])
    question = dns.message.make_query(HOST, "A", id=4711).to_wire()

    def good_answer(connection: socket.socket) -> None:
        connection.sendto(question, where)
        while True:
            answer = dns.message.from_wire(connection.recv(65535))
            if answer.id == 4711 and answer.answer:
                return

    @few
    @given(
        st.binary(max_size=600)
        | st.tuples(st.integers(0, len(question) - 1), st.integers(0, 255)).map(
            lambda change: question[: change[0]] + bytes([change[1]]) + question[change[0] + 1 :]
        )
    )
    def feed(packet: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
            connection.settimeout(5)
            connection.sendto(packet, where)
            good_answer(connection)
        with socket.create_connection(where, 5) as connection:
            connection.settimeout(0.2)
            try:
                connection.sendall(len(packet).to_bytes(2, "big") + packet)
                said = connection.recv(65535)
            except (TimeoutError, ConnectionError):
                return
        if said:
            assert said[2:4] == packet[:2]
            assert said[4] & 0x80, "an answer is marked as one"

    feed()
    doors.is_well()


@pytest.mark.timeout(240)
def test_the_proxy_answers_each_request_and_loses_no_row(doors: Doors) -> None:
    head = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n"
    lines = st.sampled_from(
        [
            "Content-Length: 5",
            "Content-Length: 5, 6",
            "Content-Length: -1",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding : chunked",
            "Host: other.example",
            " folded: yes",
            "X\x00Y: 1",
            "Expect: 200-maybe",
            "Connection: close, X-Drop",
            "X: " + "y" * 70_000,
        ]
    )

    @few
    @given(
        st.binary(min_size=1, max_size=200)
        | st.lists(lines, max_size=4).map(
            lambda extra: (head + "".join(f"{line}\r\n" for line in extra) + "\r\n").encode()
        )
    )
    def feed(raw: bytes) -> None:
        said = doors.ask(raw)
        if said:
            assert said.startswith(b"HTTP/1.1 "), said[:80]
            assert b"Traceback" not in said

    feed()
    doors.is_well()
    # Nothing that came in between has cost, or doubled, a row of the good requests.
    url = f"{doors.appliance.console}/api/v1/sites/ducks/paths?range=day"

    def counted() -> int:
        code, body = api("GET", url)
        return (
            sum(row["requests"] for row in body["paths"] if row["path"] == WELL)
            if code == 200
            else -1
        )

    wait_until(lambda: counted() == doors.good_requests, "each good request, once", 15)
