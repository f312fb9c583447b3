"""A site's way to its first visitor, with a parent's name server that delegates, or does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.servers.nsd import Nsd
from tests.servers.unbound import Unbound
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd, curl_through, dig
from tests.system.domains import DELEGATED, DUCKS, LOOK_SECONDS, Console
from tests.system.origin import ADDRESS, Origin


@pytest.mark.timeout(180)
def test_no_traffic_without_ownership_and_the_owner_gets_his_domain(
    old_and_parent: tuple[Nsd, Nsd],
    unbound: Unbound,
    twistd: Callable[..., Twistd],
    origin: Origin,
) -> None:
    old, parent = old_and_parent
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
