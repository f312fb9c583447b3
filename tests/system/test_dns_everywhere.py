"""One registry, two name servers: a change is answered by both soon, and alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

from tests.servers.mariadb import MariaDB
from tests.servers.redis import Redis
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd, api, dig

Make = Callable[..., Twistd]
# What an owner may expect: he looks at his page, changes a record, and asks for it.
EVERYWHERE_SECONDS = 2.0


def answers(port: int, address: str) -> bool:
    return dig(port, "shop.ducks.example") == [address]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("shared_cache", [True, False], ids=["redis", "without redis"])
def test_a_change_is_answered_by_every_name_server_within_two_seconds(
    twistd: Make, mariadb: MariaDB, redis: Redis, shared_cache: bool
) -> None:
    shared = {
        "registry": {"url": mariadb.fresh_database()},
        "cache": {"url": redis.url if shared_cache else "memory:"},
        "proxy": {"addresses": ["192.0.2.10"]},
    }
    first = twistd({**shared, "node": {"roles": ["nameserver", "console"]}}, "first")
    second = twistd({**shared, "node": {"roles": ["nameserver"]}}, "second")
    first.start()
    second.start()
    ports = [one.ports["dns"] for one in (first, second)]
    code, body = api(
        "POST",
        f"{first.console}/api/v1/sites",
        {
            "name": "ducks",
            "domain": "ducks.example",
            "origin": "http://198.51.100.7",
            "email": "owner@ducks.example",
            "cohort": "test",
        },
    )
    assert code == 201, body
    for number in range(1, 4):
        address = f"203.0.113.{number}"
        code, reply = api(
            "PUT",
            f"{first.console}/api/v1/sites/ducks/records",
            {"records": [{"name": "shop", "type": "A", "ttl": 60, "value": address}]},
            body["token"],
        )
        written = time.monotonic()
        assert code == 200, reply
        for port in ports:
            wait_until(
                partial(answers, port, address),
                f"{address}, answered at port {port}",
                EVERYWHERE_SECONDS - (time.monotonic() - written),
            )
    for question in (["ducks.example", "NS"], ["ducks.example", "MX"], ["no.ducks.example"]):
        both = [dig(port, *question) for port in ports]
        assert both[0] == both[1]
