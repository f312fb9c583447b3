"""An origin that is a host name: looked up by a real resolver, and remembered without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.servers.nsd import Nsd
from tests.servers.ports import free_port
from tests.servers.unbound import Unbound
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd, api, curl_through, dig
from tests.system.origin import ADDRESS, Origin

HOST = "www.ducks.example"
ZONE = f"""$TTL 60
@ SOA ns1 hostmaster 1 7200 900 1209600 300
@ NS ns1
ns1 A 127.0.0.1
origin CNAME server
server A {ADDRESS}
"""
# A registration comes by the feed within a second, and the look-up begins within another.
FOUND_SECONDS = 10.0


@pytest.fixture
def resolver(nsd: Nsd, unbound: Unbound) -> Iterator[Unbound]:
    nsd.serve({"host.test": ZONE})
    unbound.know({"host.test": [(nsd.address, nsd.port)]})
    yield unbound
    unbound.know({})


@pytest.mark.parametrize("workers", [0, 2])
def test_an_origin_may_be_a_host_name(
    twistd: Callable[..., Twistd], origin: Origin, resolver: Unbound, workers: int
) -> None:
    running = twistd(
        {
            "node": {
                "resolvers": [f"{resolver.address}:{resolver.port}"],
                "workers": workers,
            },
            # Nobody is there: no proxy is healthy, and DNS leads to the origin.
            "nameserver": {
                "health": {
                    "targets": [f"http://127.0.0.1:{free_port()}/"],
                    "interval": 0.3,
                    "timeout": 0.3,
                }
            },
        }
    )
    running.start()
    wanted = f"http://origin.host.test:{origin.port}"
    fields = {"name": "ducks", "domain": HOST, "origin": wanted, "email": "owner@ducks.example"}
    code, site = api("POST", f"{running.console}/api/v1/sites", fields)
    assert (code, site.get("origin")) == (201, wanted), site

    def visited() -> bool:
        found = curl_through(running.proxy, f"http://{HOST}:{running.ports['http']}/a")
        return found.stdout == f"the origin of {HOST}:{running.ports['http']} /a\n"

    def answered() -> bool:
        return dig(running.ports["dns"], HOST, "A") == [ADDRESS]

    wait_until(visited, "a visit to an origin that is a name", FOUND_SECONDS)
    wait_until(answered, "a failover to the addresses of a name", FOUND_SECONDS)
    running.stop()
    resolver.know({})  # it refuses everything
    running.start()
    assert visited()
    wait_until(answered, "a failover to what was known before", FOUND_SECONDS)
