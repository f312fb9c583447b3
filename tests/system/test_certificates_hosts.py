"""Certificates on hosts that share a MariaDB and a key file: orders, take-over, mistakes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.mariadb import MariaDB
from tests.servers.pebble import Pebble
from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, Twistd, api, run
from tests.system.https import root_of
from tests.system.origin import Origin
from tests.system.paced import PacedTwistd
from tests.unit.certificates.authority import Authority
from watchducks.appliance.pace import Pace
from watchducks.registry.sealing import Sealer

PACE = Pace(turn_seconds=1.0, lease_seconds=3)
# From one host's certificate to all others', and what two busy cores take beside it.
SHARED_SECONDS = 2.0 + 1.0


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Twistd]]:
    made: list[Twistd] = []

    def make(name: str, settings: dict[str, dict[str, Any]]) -> Twistd:
        made.append(PacedTwistd(tmp_path / name, settings, PACE))
        return made[-1]

    yield make
    for one in reversed(made):
        one.stop()


@pytest.fixture
def secure_origin(tmp_path: Path) -> Iterator[Origin]:
    """An owner's server with a certificate of its own."""
    Authority().write(tmp_path / "origin", "ducks.example", "pond.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "origin/fullchain.pem", tmp_path / "origin/privkey.pem")
    with Origin(context) as running:
        yield running


def shown(app: Twistd, host: str, root: Path | None = None) -> bytes:
    """Return the certificate that a host shows for a name, or b"".

    :param root: b"" as well, if a browser that believes only this one would not accept it.
    """
    if root is None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=str(root))
    try:
        with (
            socket.create_connection(("127.0.0.1", app.ports["https"]), 5) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            return connection.getpeercert(binary_form=True) or b""
    except OSError:
        return b""


def register(app: Twistd, name: str, origin: Origin) -> None:
    site = {
        "name": name,
        "domain": f"{name}.example",
        "origin": origin.url,
        "email": f"owner@{name}.example",
        "cohort": "default",
    }
    code, answer = api("POST", f"{app.console}/api/v1/sites", site)
    assert code == 201, answer


@pytest.mark.timeout(180)
def test_hosts_share_orders_certificates_and_one_key(
    make: Callable[..., Twistd],
    mariadb: MariaDB,
    pebble: Pebble,
    secure_origin: Origin,
    tmp_path: Path,
) -> None:
    url = mariadb.fresh_database()
    key = tmp_path / "shared.key"
    shared: dict[str, dict[str, Any]] = {
        "registry": {"url": url},
        "certificates": {"directory": pebble.directory_url, "ca_file": str(pebble.ca_file)},
        "security": {"key_file": str(key)},
    }
    first, second = make("first", shared), make("second", shared)
    # The authority asks the one that has to do nothing with its orders, at first.
    pebble.be(dns_port=second.ports["dns"])
    root = root_of(pebble, tmp_path)
    database = url.rpartition("/")[2]

    def rows(query: str) -> list[tuple[Any, ...]]:
        return mariadb.execute(query.replace("FROM ", f"FROM {database}."))

    first.start()
    second.start()
    register(first, "ducks", secure_origin)
    ours = wait_until(lambda: shown(first, "ducks.example", root), "a certificate", 30)
    wait_until(lambda: shown(second, "ducks.example", root) == ours, "it there", SHARED_SECONDS)
    assert pebble.orders() == 1

    # The account's other key, which the second host asks for and the first one makes.
    assert (
        run(BIN / "watchducks", "certificate", "rollover", "--config", second.config).returncode
        == 0
    )
    steps = "SELECT details FROM audit WHERE act = 'account-key' AND details LIKE '%changed%'"
    wait_until(lambda: rows(steps), "another key", 20)

    # The first one dies in the middle of an order; the second goes on with it, by the new key.
    register(second, "pond", secure_origin)
    wait_until(
        lambda: rows("SELECT 1 FROM acme WHERE name = 'bundle:pond.example'"), "an order", 20
    )
    first.kill()
    wait_until(lambda: shown(second, "pond.example", root), "it to be taken up", 30)
    assert (pebble.orders(), pebble.accounts()) == (2, 1)

    # A host with another key says so, and leaves https to the origin: never a wrong certificate.
    wrong = tmp_path / "wrong.key"
    Sealer(wrong).seal(b"", b"")
    stranger = make(
        "stranger", {**shared, "node": {"roles": ["proxy"]}, "security": {"key_file": str(wrong)}}
    )
    stranger.start()
    pem = (tmp_path / "origin/fullchain.pem").read_text()
    own = ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END CERTIFICATE-----") + 26])
    wait_until(lambda: shown(stranger, "pond.example") == own, "the origin's own", 10)
    assert shown(stranger, "ducks.example") == own
    said = stranger.log.read_text()
    assert f"the registry's secrets stay closed: security.key_file: {wrong} holds the key" in said
    assert "copy the file from another host of this registry" in said
    assert "Traceback" not in said
    # With the right one it is as good as the others.
    stranger.stop()
    stranger.change("security", {"key_file": str(key)})
    stranger.start()
    wait_until(lambda: shown(stranger, "ducks.example", root) == ours, "ours", 10)
    first.start()
    wait_until(lambda: shown(first, "pond.example", root), "what it had begun", SHARED_SECONDS)
    assert pebble.orders() == 2
