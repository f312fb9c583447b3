"""Certificates by ACME, end to end: Pebble, our name server, our proxy, and curl as a visitor."""

from __future__ import annotations

import base64
import json
import re
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.servers.pebble import Pebble
from tests.servers.process import find_program
from tests.servers.unbound import Unbound
from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, Twistd, api, curl, dig, run
from tests.system.https import root_of, trusts
from tests.system.origin import ADDRESS, Origin
from tests.system.paced import PacedTwistd
from watchducks.appliance.pace import Pace

# What an owner may wait from the moment on in which the authority can see that the name is ours.
CERTIFIED_SECONDS = 10.0
# A lease of some turns of the keeper.
PACE = Pace(turn_seconds=1.0, lease_seconds=3, fallback_seconds=1.0, drill_seconds=4)
# Of a certificate: a third of it is for renewing it, on two busy cores.
VALIDITY_SECONDS = 24
PICKED_UP_SECONDS = 2.0


def register(app: Twistd, name: str, origin: Origin) -> str:
    """Register a site and return its owner's token."""
    site = {
        "name": name,
        "domain": f"{name}.example",
        "origin": origin.url,
        "email": f"owner@{name}.example",
        "cohort": "default",
    }
    code, answer = api("POST", f"{app.console}/api/v1/sites", site)
    assert code == 201, answer
    return str(answer["token"])


def settings(pebble: Pebble, **more: object) -> dict[str, dict[str, object]]:
    own = {"directory": pebble.directory_url, "ca_file": str(pebble.ca_file)}
    return {"certificates": own | more}


def pairs_of(app: Twistd) -> list[Path]:
    return sorted((app.data_dir / "certificates").glob("acme-*"))


def has_other_keys(app: Twistd) -> None:
    """Have our account get another key, and wait for it."""
    asked = run(BIN / "watchducks", "certificate", "rollover", "--config", app.config)
    assert asked.returncode == 0, asked.stderr

    def steps() -> list[str]:
        with sqlite3.connect(app.data_dir / "registry.sqlite") as registry:
            rows = registry.execute("SELECT details FROM audit WHERE act = 'account-key'")
            found = [json.loads(details)["step"] for (details,) in rows]
        registry.close()
        return sorted(found)

    wait_until(lambda: steps() == ["changed", "wanted"], "another key", 20)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("challenge", "sites_per_certificate", "workers"),
    [("dns-01", 1, 0), ("http-01", 3, 2)],
)
def test_a_new_site_has_https(
    twistd: Callable[..., Twistd],
    pebble: Pebble,
    origin: Origin,
    tmp_path: Path,
    challenge: str,
    sites_per_certificate: int,
    workers: int,
) -> None:
    own = settings(pebble, challenge=challenge, names_per_certificate=sites_per_certificate)
    app = twistd(own | {"node": {"workers": workers}})
    pebble.be(dns_port=app.ports["dns"], http_port=app.ports["http"])
    root = root_of(pebble, tmp_path)
    app.start()
    register(app, "ducks", origin)
    began = time.monotonic()
    wait_until(lambda: trusts(app, root, "www.ducks.example"), "a certificate", 30)
    took = time.monotonic() - began
    assert took < CERTIFIED_SECONDS
    # A worker may be a second behind the other.
    wait_until(lambda: trusts(app, root, "ducks.example"), "it for the apex", 2)
    if not workers:
        has_other_keys(app)
    register(app, "pond", origin)
    wait_until(lambda: trusts(app, root, "www.pond.example"), "the other certificate", 30)
    assert trusts(app, root, "www.ducks.example")
    for pair in pairs_of(app):
        assert (pair / "privkey.pem").stat().st_mode & 0o777 == 0o600
    wait_until(lambda: noted(app, "ducks") == {"certificate"}, "a note of it", 15)
    before = pairs_of(app)
    assert len(before) == (2 if sites_per_certificate == 1 else len(before))
    app.stop()
    app.start()
    assert trusts(app, root, "www.pond.example")
    assert pairs_of(app) == before  # nothing was ordered again


def noted(app: Twistd, site: str) -> set[str]:
    """Return the kinds of what was noted of a site's certificate."""
    _, found = api("GET", f"{app.console}/api/v1/sites/{site}/annotations?range=day")
    kinds = [str(note["kind"]) for note in found["annotations"]]
    return {kind for kind in kinds if kind.startswith("certificate")}


@pytest.fixture
def paced(tmp_path: Path) -> Iterator[Callable[..., Twistd]]:
    """As ``twistd``, for one that waits for nobody longer than a test does."""
    made: list[Twistd] = []

    def make(own: Mapping[str, Mapping[str, object]]) -> Twistd:
        made.append(PacedTwistd(tmp_path / "paced", own, PACE))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.mark.timeout(60)
def test_a_second_authority_stands_in_for_one_that_refuses(
    paced: Callable[..., Twistd], pebble: Pebble, origin: Origin, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Pebble(tmp_path / "other")
    fallback = {"directory": other.directory_url, "ca_file": str(other.ca_file)}
    app = paced(settings(pebble, fallback=fallback))
    # It wants an account that the sysadmin has there, and there is none.
    pebble.be(dns_port=app.ports["dns"], mac_keys={"ducks": b"quack" * 8})
    try:
        other.be(dns_port=app.ports["dns"])
        root = root_of(other, tmp_path)
        app.start()
        register(app, "ducks", origin)
        wait_until(lambda: trusts(app, root, "ducks.example"), "the other's certificate", 30)
    finally:
        other.stop()


@pytest.mark.timeout(60)
def test_an_order_survives_a_kill(
    paced: Callable[..., Twistd], pebble: Pebble, origin: Origin, tmp_path: Path
) -> None:
    app = paced(settings(pebble))
    pebble.be(dns_port=app.ports["dns"], http_port=app.ports["http"])
    root = root_of(pebble, tmp_path)
    app.start()
    pebble.pause()
    register(app, "ducks", origin)
    app.kill()
    pebble.resume()
    app.start()
    wait_until(lambda: trusts(app, root, "ducks.example"), "a certificate", 30)


@pytest.mark.timeout(120)
def test_twenty_sites_at_once_through_a_resolver(
    twistd: Callable[..., Twistd],
    pebble: Pebble,
    unbound: Unbound,
    origin: Origin,
    tmp_path: Path,
) -> None:
    """By an account of the sysadmin's, while the authority refuses every second nonce."""
    secret = b"quack" * 8
    key = base64.urlsafe_b64encode(secret).decode()
    app = twistd(settings(pebble, names_per_certificate=5, eab_kid="ducks", eab_key=key))
    unbound.know({"example": [("127.0.0.1", app.ports["dns"])]})
    pebble.be(dns_port=unbound.port, bad_nonces=50, mac_keys={"ducks": secret})
    root = root_of(pebble, tmp_path)
    app.start()
    for number in range(20):
        register(app, f"s{number}", origin)
    wait_until(lambda: trusts(app, root, "www.s19.example"), "the last certificate", 60)
    wait_until(lambda: trusts(app, root, "s0.example"), "the first certificate", 60)
    found = curl(f"{app.console}/metrics").stdout
    assert "watchducks_certificate_failures_total 0" in found


@pytest.mark.timeout(60)
def test_a_drill_leads_to_the_origin_and_ends(paced: Callable[..., Twistd], origin: Origin) -> None:
    app = paced({})
    app.start()
    token = register(app, "ducks", origin)
    port = app.ports["dns"]
    wait_until(lambda: dig(port, "ducks.example") == ["127.0.0.1"], "the proxy", 20)
    url = f"{app.console}/api/v1/sites/ducks"
    began = time.monotonic()
    code, site = api("PATCH", url, {"drill": "on"}, token)
    assert (code, bool(site["drill_until"])) == (200, True)
    wait_until(lambda: dig(port, "ducks.example") == [ADDRESS], "the origin", 10)
    wait_until(lambda: dig(port, "ducks.example") == ["127.0.0.1"], "the proxy", 20)
    # By itself, and not before its time.
    assert time.monotonic() - began > PACE.drill_seconds - 1
    wait_until(lambda: api("GET", url, token=token)[1]["drill_until"] is None, "its end", 10)


class Visitor:
    """Shakes hands as a browser does, again and again, and notes what it was shown.

    :ivar seen: when, in seconds since the epoch, and the certificate's serial number.
    :ivar complaints: what no browser would have accepted, and what it has waited for in vain.
    """

    def __init__(self, port: int, root: Path, host: str) -> None:
        self._port = port
        self._host = host
        self._context = ssl.create_default_context(cafile=str(root))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._visit, daemon=True)
        self.seen: list[tuple[float, str]] = []
        self.complaints: list[str] = []

    def _visit(self) -> None:
        while not self._over.wait(0.1):
            try:
                with (
                    socket.create_connection(("127.0.0.1", self._port), 10) as plain,
                    self._context.wrap_socket(plain, server_hostname=self._host) as connection,
                ):
                    shown = connection.getpeercert() or {}
                    self.seen.append((time.time(), str(shown["serialNumber"])))
            except OSError as error:
                self.complaints.append(str(error))

    def serials(self) -> list[str]:
        return list(dict.fromkeys(serial for _, serial in self.seen))

    def __enter__(self) -> Visitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.timeout(120)
def test_certificates_of_seconds_in_a_signed_zone_never_expire(
    paced: Callable[..., Twistd],
    pebble: Pebble,
    unbound: Unbound,
    origin: Origin,
    tmp_path: Path,
) -> None:
    """The authority asks a resolver that validates: challenges are signed as they are answered."""
    app = paced(settings(pebble) | {"node": {"workers": 2}})
    port = app.ports["dns"]
    servers = {"example": [("127.0.0.1", port)]}
    unbound.know(servers)
    pebble.be(dns_port=unbound.port, validity_seconds=VALIDITY_SECONDS)
    root = root_of(pebble, tmp_path)
    app.start()
    token = register(app, "ducks", origin)
    url = f"{app.console}/api/v1/sites/ducks"
    assert api("PATCH", url, {"dnssec": True}, token)[0] == 200
    wait_until(lambda: trusts(app, root, "www.ducks.example"), "a certificate", 20)
    with Visitor(app.ports["https"], root, "www.ducks.example") as visitor:
        (key,) = api("GET", f"{url}/dnssec", token=token)[1]["keys"]
        unbound.know(servers, [f"ducks.example. DNSKEY 257 3 13 {key['public_key']}"])
        assert validated(unbound, "ducks.example", "CAA")
        wait_until(lambda: len(visitor.serials()) == 2, "a renewal", 2 * VALIDITY_SECONDS)
        (written,) = {pair.stat().st_mtime for pair in pairs_of(app)}
        wait_until(lambda: visitor.seen[-1][0] > written + 2 * PICKED_UP_SECONDS, "more visits", 9)
    assert not visitor.complaints
    newest = visitor.serials()[-1]
    late = {serial for at, serial in visitor.seen if at > written + PICKED_UP_SECONDS}
    assert late == {newest}  # by both workers
    assert "watchducks_certificate_failures_total 0" in curl(f"{app.console}/metrics").stdout


def validated(unbound: Unbound, name: str, type_: str) -> bool:
    """Tell whether a resolver that knows the zone's key finds an answer that it can prove."""
    server = (f"@{unbound.address}", "-p", str(unbound.port), "+dnssec")
    found = run(find_program("dig"), *server, name, type_)
    flags = re.search(r"flags: ([a-z ]+);", found.stdout)
    return flags is not None and "ad" in flags[1].split()
