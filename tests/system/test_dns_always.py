"""Always an answer: a name server alone on its host, while everything around it fails."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any

import pytest

from tests.servers.clickhouse import ClickHouse
from tests.servers.mariadb import MariaDB
from tests.servers.redis import Redis
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd, api, dig

Make = Callable[..., Twistd]
Servers = dict[str, dict[str, Any]]
# Nobody is at either; which of them is answered is not what is tested here.
PROXY, ORIGIN = "192.0.2.10", "198.51.100.7"


@pytest.fixture
def servers(mariadb: MariaDB, redis: Redis, clickhouse: ClickHouse) -> Servers:
    """The stores that processes and hosts share."""
    return {
        "registry": {"url": mariadb.fresh_database()},
        "logs": {"url": clickhouse.fresh_database()},
        "cache": {"url": redis.url},
    }


def apart(make: Make, servers: Servers) -> tuple[Twistd, Twistd]:
    """Return a console and a name server; both run."""
    console = make({**servers, "node": {"roles": ["console"]}}, "console")
    names = make(
        {
            **servers,
            "node": {"roles": ["nameserver"]},
            "proxy": {"addresses": [PROXY]},
        },
        "names",
    )
    console.start()
    names.start()
    return console, names


def register(console: Twistd, name: str) -> None:
    code, body = api(
        "POST",
        f"{console.console}/api/v1/sites",
        {
            "name": name,
            "domain": f"www.{name}.example",
            "origin": f"http://{ORIGIN}",
            "email": f"owner@{name}.example",
            "cohort": "test",
        },
    )
    assert code == 201, body


def answered(names: Twistd, zone: str) -> bool:
    return dig(names.ports["dns"], f"www.{zone}.example") in ([PROXY], [ORIGIN])


def known(names: Twistd, zone: str) -> bool:
    """Whether the zone would be answered after a restart without a registry."""
    files = (names.data_dir / "state").glob("*")
    return any(zone.encode() in file.read_bytes() for file in files if file.is_file())


@pytest.mark.timeout(180)
def test_a_name_server_alone_answers_while_its_disk_is_full_and_every_store_is_down(
    twistd: Make, servers: Servers, mariadb: MariaDB, redis: Redis, clickhouse: ClickHouse
) -> None:
    console, names = apart(twistd, servers)
    register(console, "ducks")
    wait_until(lambda: answered(names, "ducks"), "the first zone", 10)
    wait_until(lambda: known(names, "ducks"), "the first zone on disk", 15)

    # A disk that takes no octet more, as the kernel tells it to whoever writes.
    resource.prlimit(names.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    register(console, "geese")
    wait_until(lambda: answered(names, "geese"), "a new zone, the disk full", 10)
    assert answered(names, "ducks")

    for server in (mariadb, redis, clickhouse):
        server.stop()
    assert answered(names, "ducks")
    assert answered(names, "geese")

    # A crash and a restart of it alone, in the middle of that.
    names.kill()
    names.start()
    assert answered(names, "ducks")
    secret = names.data_dir / "nameserver" / "cookie-secret"
    assert secret.stat().st_mode & 0o777 == 0o600

    for server in (mariadb, redis, clickhouse):
        server.start()
    wait_until(lambda: answered(names, "geese"), "what was registered meanwhile", 20)


@pytest.mark.timeout(120)
def test_a_console_that_is_stalled_keeps_nobody_from_an_answer(
    twistd: Make, servers: Servers
) -> None:
    console, names = apart(twistd, servers)
    register(console, "ducks")
    wait_until(lambda: answered(names, "ducks"), "the zone", 10)
    console.pause()
    assert answered(names, "ducks")
    names.stop()
    names.start()
    wait_until(lambda: answered(names, "ducks"), "the zone, after a restart", 10)


@pytest.mark.timeout(120)
def test_questions_are_figures_of_the_site(twistd: Make, servers: Servers) -> None:
    console, names = apart(twistd, servers)
    register(console, "ducks")
    wait_until(lambda: answered(names, "ducks"), "the zone", 10)
    for name, type_ in (("ducks.example", "MX"), ("nope.ducks.example", "AAAA")):
        for _ in range(3):
            dig(names.ports["dns"], name, type_)
    names.stop()  # what it has counted goes to the log store with it

    code, figures = api("GET", f"{console.console}/api/v1/sites/ducks/dns?range=day")
    assert code == 200, figures
    assert figures["zone"] == "ducks.example"
    assert figures["types"]["MX"] == figures["types"]["AAAA"] == 3
    assert figures["types"]["A"] >= 1
    assert figures["rcodes"]["NXDOMAIN"] == 3
    assert [network["network"] for network in figures["networks"]] == ["127.0.0.0/24"]
    assert sum(point["questions"] for point in figures["points"]) == figures["questions"]
