"""After a registration the real appliance looks through the domain's present DNS, and shows it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.servers.nsd import Nsd
from tests.servers.unbound import Unbound
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd, api, curl
from tests.system.test_sign_in import Browser

# Name servers answer at port 53, which nobody can choose: so loopback addresses of this process
# alone, as test runs side by side need them.
PORT = 53
_HOST = f"{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}"
OLD, PARENT = f"127.101.{_HOST}", f"127.102.{_HOST}"
# 8 s for the records, and as long to find the servers.
SCAN_SECONDS = 20.0

START = "$TTL 300\n@ SOA ns1.old.test. hostmaster.old.test. 1 7200 900 1209600 300\n"
TEST = START + f"@ NS a.nic\na.nic A {PARENT}\nducks NS ns1.old\nns1.old A {OLD}\n"
SIGNED = f"ducks DS 12345 13 2 {'ab' * 32}\n"
DUCKS = START + "@ NS ns1.old.test.\n@ A 192.0.2.80\n@ MX 10 mail\nmail A 192.0.2.25\n"


@pytest.fixture
def servers(
    tmp_path_factory: pytest.TempPathFactory, unbound: Unbound
) -> Iterator[tuple[Nsd, Nsd]]:
    """The domain's name server, and its parent's."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
            trial.bind((OLD, PORT))
    except PermissionError:
        if os.environ.get("CI"):
            raise
        pytest.skip("only root may bind port 53 (or sysctl net.ipv4.ip_unprivileged_port_start=53)")
    old, parent = (
        Nsd(tmp_path_factory.mktemp("nsd"), address=address, port=PORT) for address in (OLD, PARENT)
    )
    old.serve({"ducks.test": DUCKS})
    parent.serve({"test": TEST + SIGNED})
    try:
        old.start()
        parent.start()
        unbound.know({"test": [(PARENT, PORT)], "ducks.test": [(OLD, PORT)]})
        yield old, parent
    finally:
        old.stop()
        parent.stop()


def found(base: str, token: str, *, whole: bool) -> Any:
    """Wait for a scan with or without a transfer."""

    def made() -> Any:
        document = api("GET", f"{base}/scan", token=token)[1]
        return document if document.get("whole") is whole else None

    return wait_until(made, "the scan", SCAN_SECONDS)


def test_a_registration_is_followed_by_a_scan(
    servers: tuple[Nsd, Nsd], unbound: Unbound, twistd: Callable[..., Twistd]
) -> None:
    old, parent = servers
    running = twistd(
        {
            "node": {
                "roles": ["console", "nameserver"],
                "resolvers": [f"{unbound.address}:{unbound.port}"],
            }
        }
    )
    running.start()
    site = {
        "name": "ducks",
        "domain": "ducks.test",
        "origin": "192.0.2.80",
        "email": "owner@ducks.test",
        "cohort": "one",
    }
    # Who is only filling the form sees the same, and nothing is kept of it.
    server = f"http://127.0.0.1:{running.ports['console']}"
    status, form = Browser(running.console).send(
        "/register", "/register/look", **{**site, "origin": server}
    )
    assert status == 200
    for words in ("Mail goes to mail.ducks.test", "ns1.old.test", "is signed with DNSSEC"):
        assert words in form
    assert f"http, {running.ports['console']}: it answers" in form
    assert api("GET", f"{running.console}/api/v1/sites")[1]["sites"] == []
    code, answer = api("POST", f"{running.console}/api/v1/sites", site)
    assert code == 201, answer
    base, token = f"{running.console}/api/v1/sites/ducks", answer["token"]
    scan = found(base, token, whole=False)
    assert [(one["name"], one["type"], one["value"]) for one in scan["records"]] == [
        ("@", "A", "192.0.2.80"),
        ("@", "MX", "10 mail.ducks.test."),
        ("mail", "A", "192.0.2.25"),
    ]
    assert scan["notes"] == []
    assert scan["servers"] == [{"name": "ns1.old.test", "addresses": [OLD]}]
    assert [(one["name"], one["type"]) for one in scan["differences"]["removed"]] == [
        ("@", "MX"),
        ("mail", "A"),
    ]
    assert scan["blocked_by"]["code"] == "ds-present"
    # Everybody who looks at the site is told, before its name servers are changed.
    assert api("GET", base)[1]["blocked_by"] == scan["blocked_by"]
    assert scan["blocked_by"]["message"] in curl(f"{running.console}/sites/ducks").stdout.replace(
        "&#39;", "'"
    )

    # The owner keeps his records and has the DS removed: nothing is in the way any more.
    kept = {"records": [one for one in scan["records"] if one["value"] != "192.0.2.80"]}
    assert api("PUT", f"{base}/records", kept, token)[0] == 200
    parent.serve({"test": TEST})
    old.serve({"ducks.test": DUCKS + 'unguessable TXT "a transfer"\n'}, transfers=True)
    assert api("POST", f"{base}/scan", {}, token)[0] == 202
    again = found(base, token, whole=True)
    assert (again["blocked_by"], again["ds"]) == (None, [])
    assert api("GET", base)[1]["blocked_by"] is None
    assert [one["name"] for one in again["differences"]["removed"]] == ["unguessable"]
