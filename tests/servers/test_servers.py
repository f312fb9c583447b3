"""The private servers start, answer, and come back after everything a test may do to them."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import dns.zone
import pytest
from selenium.webdriver import Chrome
from sqlalchemy import create_engine, text

from tests.servers.clickhouse import ClickHouse
from tests.servers.mariadb import MariaDB
from tests.servers.nsd import Nsd
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerProcess, find_program
from tests.servers.redis import Redis
from tests.servers.unbound import Unbound
from tests.servers.waiting import wait_until

SERVERS = ["mariadb", "redis", "clickhouse", "nsd", "unbound"]
ZONE = """\
$ORIGIN pond.test.
$TTL 60
@ SOA ns1.elsewhere.example. hostmaster.elsewhere.example. 1 7200 900 1209600 60
@ NS ns1.elsewhere.example.
@ TXT "{text}"
"""


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> ServerProcess:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, ServerProcess)
    return found


def _state(pid: int) -> str:
    """Return the process's state letter, as ps shows it (T: stopped)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_server_stops_and_starts_again(server: ServerProcess) -> None:
    assert server.answers()
    first = server.pid
    server.stop()
    assert not server.running
    assert not server.answers()
    assert not Path(f"/proc/{first}").exists()
    server.start()
    assert server.answers()
    assert server.pid != first


def test_paused_server_stays_and_goes_on(server: ServerProcess) -> None:
    server.pause()
    wait_until(lambda: _state(server.pid) == "T", f"{server.name} to freeze", 5)
    assert server.running
    server.resume()
    wait_until(server.answers, f"{server.name} to answer again", 10)


def test_server_recovers_from_a_crash_unseen(server: ServerProcess) -> None:
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.running, f"{server.name} to die", 5)
    server.recover()
    assert server.answers()


def test_mariadb_databases_are_fresh_and_survive_a_restart(mariadb: MariaDB) -> None:
    one, other = (create_engine(mariadb.fresh_database()) for _ in range(2))
    with one.begin() as connection:
        connection.execute(text("CREATE TABLE pond (duck VARCHAR(20))"))
        connection.execute(text("INSERT INTO pond VALUES ('\N{DUCK}')"))
    one.dispose()
    mariadb.stop()
    mariadb.start()
    with one.connect() as connection:
        assert connection.execute(text("SELECT duck FROM pond")).scalar() == "\N{DUCK}"
    with other.connect() as connection:
        assert connection.execute(text("SHOW TABLES")).all() == []
    one.dispose()
    other.dispose()


def test_redis_forgets_on_flush_all(redis: Redis) -> None:
    assert redis.execute("SET duck quack") == "+OK"
    assert redis.execute("EXISTS duck") == ":1"
    redis.flush_all()
    assert redis.execute("EXISTS duck") == ":0"
    assert redis.url == f"redis://127.0.0.1:{redis.port}/0"


def test_clickhouse_databases_are_fresh_and_survive_a_restart(clickhouse: ClickHouse) -> None:
    one, other = (clickhouse.fresh_database().rpartition("/")[2] for _ in range(2))
    clickhouse.execute(f"CREATE TABLE {one}.pond (duck UInt8) ENGINE = MergeTree ORDER BY duck")
    clickhouse.execute(f"INSERT INTO {one}.pond SELECT number FROM system.numbers LIMIT 3")
    clickhouse.stop()
    clickhouse.start()
    assert clickhouse.execute(f"SELECT sum(duck) FROM {one}.pond") == [(3,)]
    assert clickhouse.execute(f"SHOW TABLES FROM {other}") == []


def test_unbound_asks_nsd_and_only_nsd(nsd: Nsd, unbound: Unbound) -> None:
    def ask(name: str) -> dns.message.Message:
        query = dns.message.make_query(name, "TXT")
        return dns.query.udp(query, unbound.address, port=unbound.port, timeout=10)

    for said in ("one duck", "two ducks"):
        nsd.serve({"pond.test": ZONE.format(text=said)}, transfers=True)
        unbound.know({"pond.test": [(nsd.address, nsd.port)]})
        assert f'"{said}"' in str(ask("pond.test").answer[0])
        assert ask("no.pond.test").rcode() == dns.rcode.NXDOMAIN
    assert ask("example.com").rcode() == dns.rcode.REFUSED
    transferred = dns.zone.Zone("pond.test")
    dns.query.inbound_xfr(nsd.address, transferred, port=nsd.port, lifetime=10)
    assert transferred.get_rdataset("@", "TXT") is not None


def test_failed_start_shows_the_log(tmp_path: Path) -> None:
    server = Redis(tmp_path)
    with socket.socket() as rival:
        rival.bind((LOOPBACK, server.port))
        with pytest.raises(AssertionError, match="died at start") as failure:
            server.start()
    assert "Address already in use" in str(failure.value)
    assert not server.running


def test_chromium_renders_and_starts_clean(chromium: Chrome) -> None:
    chromium.get("data:text/html,<title>pond</title><script>document.title += '!'</script>")
    assert chromium.title == "pond!"
    assert chromium.get_window_size() == {"width": 1280, "height": 900}


def test_missing_program_skips_or_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="duck-server is not installed"):
        find_program("duck-server")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="duck-server is not installed"):
        find_program("duck-server")


def test_free_ports_differ_and_are_free_for_tcp_and_udp() -> None:
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == len(ports)
    for port in ports:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as ours:
                ours.bind((LOOPBACK, port))
