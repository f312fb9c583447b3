"""Proxy in one process, name server and console in another: failover, rows on real servers."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.servers.clickhouse import ClickHouse
from tests.servers.mariadb import MariaDB
from tests.servers.redis import Redis
from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, Twistd, api, curl_through, dig, run
from tests.system.origin import ADDRESS, Origin
from tests.system.test_sign_in import Browser

Make = Callable[..., Twistd]
Servers = dict[str, dict[str, Any]]


@pytest.fixture
def servers(mariadb: MariaDB, redis: Redis, clickhouse: ClickHouse) -> Servers:
    """The stores that processes and hosts share."""
    return {
        "registry": {"url": mariadb.fresh_database()},
        "logs": {"url": clickhouse.fresh_database(), "flush_seconds": 0.5},
        "cache": {"url": redis.url},
    }


def apart(make: Make, servers: Servers) -> tuple[Twistd, Twistd]:
    """Return a proxy, and a name server with console that watches it; both run."""
    proxy = make({**servers, "node": {"name": "edge-1", "roles": ["proxy"]}}, "proxy")
    rest = make(
        {
            **servers,
            "node": {"name": "rest", "roles": ["nameserver", "console"]},
            "proxy": {
                scheme: [f"tcp:{proxy.ports[scheme]}:interface=127.0.0.1"]
                for scheme in ("http", "https")
            },
            "nameserver": {
                "health": {"interval": 0.3, "timeout": 0.3, "down_after": 3, "up_after": 2}
            },
        },
        "rest",
    )
    proxy.start()
    rest.start()
    return proxy, rest


def register(console: str, origin: Origin, name: str = "ducks") -> None:
    code, body = api(
        "POST",
        f"{console}/api/v1/sites",
        {
            "name": name,
            "domain": f"www.{name}.example",
            "origin": origin.url,
            "email": f"owner@{name}.example",
            "cohort": "test",
        },
    )
    assert code == 201, body


@pytest.mark.timeout(180)
def test_dns_leads_to_the_origin_while_the_proxy_is_stopped_or_frozen(
    twistd: Make, servers: Servers, origin: Origin
) -> None:
    proxy, rest = apart(twistd, servers)
    register(rest.console, origin)
    www, dns = "www.ducks.example", rest.ports["dns"]
    wait_until(lambda: dig(dns, www) == ["127.0.0.1"], "the proxy's address", 10)
    url = f"http://{www}:{proxy.ports['http']}/"
    wait_until(
        lambda: f"the origin of {www}" in curl_through(proxy.proxy, url).stdout,
        "the proxy to know the site",
        5,
    )

    # Each host has told the registry of itself, and an admin sees both on one page.
    adding = (BIN / "watchducks", "admin", "add", "--config", rest.config, "root@ducks.example")
    link = re.search(r"(/sign-in/\S+)", run(*adding).stdout)
    assert link
    admin = Browser(rest.console)
    assert admin.send(link[1], link[1])[0] == 200
    page = admin.get("/admin")[1]
    assert sorted(re.findall(r'data-host="([^"]+)"', page)) == ["edge-1", "rest"]
    edge = page.split('data-host="edge-1"')[1].split("</section>")[0]
    assert ">Proxy<" in edge
    assert 'data-fact="watchducks_spool_bytes"' in edge
    assert "127.0.0.1<small>rest, since" in page
    assert "All hosts and proxies work." in page

    proxy.pause()
    wait_until(lambda: dig(dns, www) == [ADDRESS], "the origin's address, the proxy frozen", 10)
    proxy.resume()
    wait_until(lambda: dig(dns, www) == ["127.0.0.1"], "the proxy's address again", 10)

    proxy.stop()
    wait_until(lambda: dig(dns, www) == [ADDRESS], "the origin's address, the proxy stopped", 10)
    proxy.start()
    wait_until(lambda: dig(dns, www) == ["127.0.0.1"], "the proxy's address again", 10)


@pytest.mark.timeout(180)
def test_rows_of_one_process_are_charts_in_the_other(
    twistd: Make, servers: Servers, origin: Origin
) -> None:
    proxy, rest = apart(twistd, servers)
    register(rest.console, origin)
    url = f"http://www.ducks.example:{proxy.ports['http']}"
    wait_until(lambda: "origin" in curl_through(proxy.proxy, f"{url}/").stdout, "the site", 5)
    for _ in range(4):
        # A browser by its word: curl is no visitor.
        curl_through(proxy.proxy, f"{url}/missing", "--user-agent", "Mozilla/5.0")

    def counted(metric: str) -> Any:
        code, body = api("GET", f"{rest.console}/api/v1/sites/ducks/{metric}?range=day")
        assert code == 200, body
        return body

    wait_until(lambda: counted("traffic")["totals"]["requests"] == 5, "five requests", 10)
    assert counted("status")["codes"] == {"200": 1, "404": 4}
    assert counted("visitors")["total"] == 1
    assert counted("latency")["total"]["p95_ms"] > 0


@pytest.mark.timeout(240)
def test_visitors_are_served_while_every_store_is_down_and_no_row_is_lost(
    twistd: Make,
    servers: Servers,
    origin: Origin,
    mariadb: MariaDB,
    redis: Redis,
    clickhouse: ClickHouse,
) -> None:
    proxy, rest = apart(twistd, servers)
    register(rest.console, origin)
    url = f"http://www.ducks.example:{proxy.ports['http']}/"
    wait_until(lambda: "origin" in curl_through(proxy.proxy, url).stdout, "the site", 5)
    # The last known sites are kept every few seconds; a restart needs them on disk.
    kept = [one.data_dir / "state" / "sites.json" for one in (proxy, rest)]
    wait_until(
        lambda: all(path.exists() and b"ducks" in path.read_bytes() for path in kept),
        "the known sites on disk",
        15,
    )
    for server in (mariadb, redis, clickhouse):
        server.stop()
    assert "origin" in curl_through(proxy.proxy, url).stdout
    assert dig(rest.ports["dns"], "ducks.example") == ["127.0.0.1"]

    # A crash and a restart in the middle of it.
    os.kill(proxy.pid, signal.SIGKILL)
    proxy.kill()
    proxy.start()
    assert "origin" in curl_through(proxy.proxy, url).stdout

    for server in (mariadb, redis, clickhouse):
        server.start()

    def requests() -> int:
        code, body = api("GET", f"{rest.console}/api/v1/sites/ducks/traffic?range=day")
        return int(body["totals"]["requests"]) if code == 200 else -1

    wait_until(lambda: requests() == 3, "each request, once", 60)
