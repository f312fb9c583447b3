"""A site's way to its first visitor, with a parent's name server that delegates, or does not."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.servers.nsd import Nsd
from tests.servers.unbound import Unbound
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd, api, curl_through, dig
from tests.system.origin import ADDRESS, Origin

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


@pytest.fixture
def servers(
    tmp_path_factory: pytest.TempPathFactory, unbound: Unbound
) -> Iterator[tuple[Nsd, Nsd]]:
    """The domain's old name server, and its parent's."""
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


@pytest.mark.timeout(180)
def test_no_traffic_without_ownership_and_the_owner_gets_his_domain(
    servers: tuple[Nsd, Nsd],
    unbound: Unbound,
    twistd: Callable[..., Twistd],
    origin: Origin,
) -> None:
    old, parent = servers
    running = twistd(
        {
            "node": {"resolvers": [f"{unbound.address}:{unbound.port}"]},
            "security": {"require_delegation": True},
        }
    )
    running.start()
    console = Console(running)
    url = f"http://ducks.test:{running.ports['http']}/"

    def visit() -> str:
        return curl_through(running.proxy, url, "--write-out", "%{http_code}").stdout[-3:]

    # Somebody registers a domain that is not his: nothing comes of it.
    stranger = console.register("stranger", "192.0.2.66")
    console.look("stranger", stranger)
    step = console.waits_for("stranger", stranger, "elsewhere")
    assert "ns1.old.test" in step["reason"]["message"]
    assert visit() == "404"
    # The owner registers it all the same, and shows that it is his while it is where it was.
    owner = console.register("owner", origin.url)
    console.look("owner", owner)
    message = console.waits_for("owner", owner, "unproven")["reason"]["message"]
    proof = next(word for word in message.split() if word.startswith("watchducks="))
    old.serve({"ducks.test": DUCKS + f'_watchducks-challenge TXT "{proof}"\n'})
    console.look("owner", owner)
    port = running.ports["dns"]
    wait_until(lambda: dig(port, "ducks.test") == [ADDRESS], "the owner's zone", LOOK_SECONDS)
    assert (console.site("owner")["state"], visit()) == ("registered", "404")
    # Then he changes the name servers.
    parent.serve({"test": DELEGATED})
    for name, token in (("stranger", stranger), ("owner", owner)):
        console.look(name, token)
    console.becomes("owner", "delegated")
    wait_until(lambda: dig(port, "ducks.test") == ["127.0.0.1"], "the proxy", LOOK_SECONDS)
    wait_until(lambda: visit() == "200", "the first visitor", LOOK_SECONDS)
    console.becomes("owner", "active")
    steps = console.site("owner")["progress"]["steps"]
    assert [(step["name"], step["state"]) for step in steps] == [
        ("registered", "done"),
        ("delegated", "done"),
        ("active", "done"),
    ]
    assert all(step["time"] for step in steps)
    assert console.site("stranger")["state"] == "registered"
