"""A site's way to its first visitor, with a parent's name server that delegates, or does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.servers.nsd import Nsd
from tests.servers.pebble import Pebble
from tests.servers.unbound import Unbound
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd, curl_through, dig
from tests.system.domains import DELEGATED, DUCKS, LOOK_SECONDS, PARENT, PORT, Console
from tests.system.https import root_of, trusts
from tests.system.origin import ADDRESS, Origin
from watchducks.model.cutover import CLICK_SECONDS

# From a delegation that its owner has looked at, to a page that browsers trust.
PAGE_SECONDS = 10.0


def wait_for_the_next_look(console: Console, name: str, token: str) -> None:
    """Wait until the owner may have it looked at, so that this takes no time later."""

    def may() -> bool:
        looked = console.site(name, token)["progress"]["looked"]
        return time.time() - datetime.fromisoformat(looked).timestamp() > CLICK_SECONDS + 1

    wait_until(may, "another look", LOOK_SECONDS)


@pytest.mark.timeout(180)
def test_no_traffic_without_ownership_and_the_owner_gets_his_domain(
    old_and_parent: tuple[Nsd, Nsd],
    unbound: Unbound,
    pebble: Pebble,
    twistd: Callable[..., Twistd],
    origin: Origin,
    tmp_path: Path,
) -> None:
    old, parent = old_and_parent
    running = twistd(
        {
            "node": {"resolvers": [f"{unbound.address}:{unbound.port}"]},
            "security": {"require_delegation": True},
            "certificates": {"directory": pebble.directory_url, "ca_file": str(pebble.ca_file)},
        }
    )
    pebble.be(dns_port=unbound.port)
    root = root_of(pebble, tmp_path)
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
    # Then he changes the name servers, and has a page that browsers trust.
    wait_for_the_next_look(console, "owner", owner)
    unbound.know({"test": [(PARENT, PORT)], "ducks.test": [("127.0.0.1", port)]})
    began = time.monotonic()
    parent.serve({"test": DELEGATED})
    console.look("owner", owner)
    wait_until(lambda: trusts(running, root, "ducks.test"), "https", 3 * PAGE_SECONDS)
    took = time.monotonic() - began
    assert took < PAGE_SECONDS
    console.look("stranger", stranger)
    wait_until(lambda: dig(port, "ducks.test") == ["127.0.0.1"], "the proxy", LOOK_SECONDS)
    wait_until(lambda: visit() == "200", "the first visitor", LOOK_SECONDS)
    console.becomes("owner", "active")
    steps = console.site("owner")["progress"]["steps"]
    assert [(step["name"], step["state"]) for step in steps] == [
        ("registered", "done"),
        ("delegated", "done"),
        ("ordered", "done"),
        ("certified", "done"),
        ("active", "done"),
    ]
    assert all(step["time"] for step in steps)
    assert console.site("stranger")["state"] == "registered"
