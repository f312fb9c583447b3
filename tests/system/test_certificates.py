"""Certificates by ACME, end to end: Pebble, our name server, our proxy, and curl as a visitor."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.servers.pebble import Pebble
from tests.servers.unbound import Unbound
from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, Twistd, api, curl, dig, run
from tests.system.https import root_of, trusts
from tests.system.origin import ADDRESS, Origin
from tests.system.paced import PacedTwistd
from watchducks.appliance.pace import Pace

# What an owner may wait from the moment on in which the authority can see that the name is ours.
CERTIFIED_SECONDS = 10.0
# A lease of little more than a turn of the keeper.
PACE = Pace(lease_seconds=7, fallback_seconds=1.0)


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
def test_a_drill_leads_to_the_origin_and_ends(
    twistd: Callable[..., Twistd], origin: Origin
) -> None:
    app = twistd()
    app.start()
    token = register(app, "ducks", origin)
    port = app.ports["dns"]
    wait_until(lambda: dig(port, "ducks.example") == ["127.0.0.1"], "the proxy", 20)
    url = f"{app.console}/api/v1/sites/ducks"
    code, site = api("PATCH", url, {"drill": "on"}, token)
    assert (code, bool(site["drill_until"])) == (200, True)
    wait_until(lambda: dig(port, "ducks.example") == [ADDRESS], "the origin", 10)
    with sqlite3.connect(app.data_dir / "registry.sqlite") as registry:
        registry.execute("UPDATE registry SET revision = revision + 1")
        registry.execute(
            "UPDATE sites SET drill_until = ?, revision = (SELECT revision FROM registry)",
            (int(time.time()) + 3,),  # as if it had begun five minutes ago
        )
    registry.close()
    wait_until(lambda: dig(port, "ducks.example") == ["127.0.0.1"], "the proxy", 10)
    wait_until(lambda: api("GET", url, token=token)[1]["drill_until"] is None, "its end", 10)
