"""Pytest plugin: the real servers as fixtures, each started when the first test asks for it.

A server lives for the session. Tests may stop, kill or freeze it: it runs again for the next one.
What is in it is shared, so each test (or module) takes a `fresh_database()`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import pytest
from selenium.webdriver import Chrome

from tests.servers.chromium import start_chromium
from tests.servers.clickhouse import ClickHouse
from tests.servers.clickhouse_cluster import SERVERS, ClickHouseCluster
from tests.servers.mariadb import MariaDB
from tests.servers.nsd import Nsd
from tests.servers.pebble import Pebble
from tests.servers.process import ServerProcess
from tests.servers.redis import Redis
from tests.servers.unbound import Unbound

S = TypeVar("S", bound=ServerProcess)

_started: list[ServerProcess] = []


@contextmanager
def _running(server: S) -> Iterator[S]:
    server.start()
    _started.append(server)
    try:
        yield server
    finally:
        _started.remove(server)
        server.stop()


@pytest.fixture(autouse=True)
def _servers_recover() -> Iterator[None]:
    """Whatever a test did to a server, the next test finds it running."""
    yield
    for server in _started:
        server.recover()


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A private MariaDB; skipped (or failed, with CI set) where it is not installed."""
    with _running(MariaDB(tmp_path_factory.mktemp("mariadb"))) as server:
        yield server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A private Redis; skipped (or failed, with CI set) where it is not installed."""
    with _running(Redis(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A private ClickHouse; skipped (or failed, with CI set) where it is not installed."""
    with _running(ClickHouse(tmp_path_factory.mktemp("clickhouse"))) as server:
        yield server


@contextmanager
def _cluster(paths: pytest.TempPathFactory, *, shards: bool) -> Iterator[ClickHouseCluster]:
    cluster = ClickHouseCluster(
        paths.mktemp("zookeeper"),
        [paths.mktemp(f"clickhouse-{number}") for number in range(SERVERS)],
        shards=shards,
    )
    with ExitStack() as running:
        for server in (cluster.zookeeper, *cluster.servers):
            running.enter_context(_running(server))
        yield cluster


@pytest.fixture(scope="session")
def clickhouse_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseCluster]:
    """Two private ClickHouse servers as replicas, with their ZooKeeper; skipped (or failed, with CI
    set) where one of these is not installed."""
    with _cluster(tmp_path_factory, shards=False) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def clickhouse_shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseCluster]:
    """The same as shards."""
    with _cluster(tmp_path_factory, shards=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def nsd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nsd]:
    """A private NSD; skipped (or failed, with CI set) where it is not installed."""
    with _running(Nsd(tmp_path_factory.mktemp("nsd"))) as server:
        yield server


@pytest.fixture(scope="session")
def unbound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unbound]:
    """A private unbound; skipped (or failed, with CI set) where it is not installed."""
    with _running(Unbound(tmp_path_factory.mktemp("unbound"))) as server:
        yield server


@pytest.fixture(scope="session")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """A private Pebble; skipped (or failed, with CI set) where it is not installed."""
    with _running(Pebble(tmp_path_factory.mktemp("pebble"))) as server:
        yield server


@pytest.fixture(scope="session")
def _browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    browser = start_chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.quit()


@pytest.fixture
def chromium(_browser: Chrome) -> Chrome:
    """A browser without cookies, on an empty page; skipped where Chromium is not installed."""
    # Of all sites: delete_all_cookies() forgets those of the present page only.
    _browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    _browser.get("about:blank")
    # What the page of an earlier test complained of, when its server went, is not this test's.
    _browser.get_log("browser")  # type: ignore[no-untyped-call]
    return _browser
