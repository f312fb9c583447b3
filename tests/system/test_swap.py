"""A real systemd: swaps that no visitor notices, and what happens when things go wrong.

The full measure, ten swaps and 100,000 requests, is ``python -m bench.swaps``.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.servers.container import build_package
from tests.servers.waiting import wait_until
from tests.system.host import PACKAGE, SWAP_SECONDS, Host, Visitors
from watchducks.analytics.tables import MIGRATIONS
from watchducks.registry.migrations import HEAD

# Building and installing the package, and swaps that wait for slow downloads.
pytestmark = pytest.mark.timeout(240)

SWAPS = 2
REQUESTS = 8_000
EDGES = 2
# Of work at a stretch; a turn of ours takes a few milliseconds.
STALL_SECONDS = 0.5
REGISTRY = "var/lib/watchducks/registry.sqlite"
SITE_PACKAGES = PACKAGE / "lib/python3.11/site-packages/watchducks"


# What a newer version has beyond this one.
OUR_HEAD = f'HEAD: Final = "{HEAD}"'
NEWER_REGISTRY = f"""
import sqlalchemy as sa
from alembic import op

revision, down_revision, oldest_program = "9999", "{HEAD}", "{HEAD}"


def upgrade():
    op.add_column("sites", sa.Column("ducks", sa.Integer, nullable=False, server_default="3"))
"""
LAST_TABLES = f"    Migration({MIGRATIONS[-1].number}, 1, {MIGRATIONS[-1].statements.__name__}),\n"
NEWER_TABLES = """\
    Migration(99, 1, lambda _: ["CREATE TABLE IF NOT EXISTS ducks (n UInt8) ENGINE = Memory"]),
"""


def replace_file(path: Path, text: str) -> None:
    """As dpkg and pip do: what runs keeps its own."""
    path.unlink(missing_ok=True)
    path.write_text(text)


def schema_of(host: Host) -> tuple[str, str]:
    """Return the registry's schema, and the oldest program that can work on it."""
    registry = f"file:{host.container.root / REGISTRY}?mode=ro"
    with closing(sqlite3.connect(registry, uri=True)) as database:
        ((version, oldest),) = database.execute("SELECT * FROM alembic_version")
    return version, oldest


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    directory = tmp_path_factory.mktemp("swap")
    made = Host(directory / "container", build_package(directory))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("workers", [0, EDGES])
def test_nobody_notices_a_swap(host: Host, workers: int) -> None:
    """The first of two swaps with workers is one from none to some."""
    host.configure("workers = 0", f"workers = {workers}")
    before = host.rows()
    with Visitors(host.container) as visitors:
        colours = [host.running()]
        for _ in range(SWAPS):
            host.swap()
            colours.append(host.running())
        assert len(host.edges()) == workers
        visitors.wait_for(REQUESTS)
    found = visitors.found
    assert colours == ["blue", "green", "blue"]
    # A guest of a busy machine may be stopped for seconds; but it is not to be work of ours.
    stalls = host.container.journal("--grep=everybody had to wait")
    assert not found["failed"], f"{json.dumps(found)}\n{stalls}"
    worked = map(float, re.findall(r"worked for ([0-9.]+) s", stalls))
    assert max(worked, default=0.0) < STALL_SECONDS, stalls
    assert sum(found["done"].values()) >= REQUESTS, found
    assert found["done"].keys() >= {"fresh", "kept", "tls", "http2", "websocket", "download"}
    assert found["done"].keys() >= {"dns-udp", "dns-tcp", "resumed"}
    # The last rows are a second old; the embedded log store was the old colour's until it ended.
    wait_until(lambda: host.rows() >= before + found["rows"], "all rows", 60, every=1)
    assert host.rows() == before + found["rows"]


# What a version does that is broken in its first module, dies once it is ready, or never is.
BROKEN = "raise RuntimeError('this version is broken')\n"
DIES_WHEN_READY = """
import os

start = Appliance.start

async def start_and_die(self):
    await start(self)
    end = lambda: os.write(2, b"this version dies\\n") and os._exit(3)
    self._house.reactor.callLater(1, end)

Appliance.start = start_and_die
"""
NEVER_READY = """
async def never(self):
    from twisted.internet.defer import Deferred
    await Deferred()

Appliance.start = never
"""


@pytest.mark.parametrize(
    ("change", "says", "because"),
    [
        (BROKEN, "does not start", "this version is broken"),
        (DIES_WHEN_READY, "was ready, and died", "this version dies"),
        (NEVER_READY, "does not start", "start operation timed out"),
    ],
)
def test_a_broken_version_changes_nothing(host: Host, change: str, says: str, because: str) -> None:
    colour, version, edges = host.running(), host.status()[host.running()]["pid"], host.edges()
    broken = host.container.root / SITE_PACKAGES / "appliance/__init__.py"
    good = broken.read_text()
    replace_file(broken, good + change)
    host.drop_in("patience", "[Service]\nTimeoutStartSec=10\n")
    try:
        with Visitors(host.container, "--only", "fresh", "tls") as visitors:
            found = host.container.execute("watchducks-swap", seconds=120)
    finally:
        replace_file(broken, good)
        host.drop_in("patience", "")
    assert found.returncode == 1
    assert says in found.stdout
    assert because in found.stdout
    # A visitor whom the one that died had accepted is lost with it.
    assert sum(visitors.found["failed"].values()) <= (3 if change == DIES_WHEN_READY else 0)
    assert host.status()[colour]["pid"] == version
    assert host.running() == colour
    assert host.edges() == edges


def test_what_hangs_does_not_outlive_its_unit(host: Host) -> None:
    """An edge that hangs, and then a keeper that does: systemd loses its patience with it."""
    unit = f"watchducks@{host.running()}"
    host.drop_in("patience", "[Service]\nTimeoutStopSec=3\n")
    for part in ("edge", "keeper"):
        hangs = host.edges()[0] if part == "edge" else host.status()[host.running()]["pid"]
        host.container.must("sh", "-c", f"kill -STOP {hangs}")
        host.container.must("systemctl", "stop", unit)
        wait_until(lambda: not host.edges(), "those that were killed to be reaped", 5)
        host.container.must("systemctl", "start", unit)
        assert len(host.edges()) == EDGES
    host.drop_in("patience", "")


def test_a_version_that_keeps_dying_is_tried_again_and_the_one_before_takes_over(
    host: Host,
) -> None:
    """Its workers, which the first keeper started, serve on meanwhile."""
    host.swap()  # or the colour before would have what the test before has put there
    colour, edges = host.running(), host.edges()
    unit = f"watchducks@{colour}"
    code = host.container.root / f"opt/watchducks/{colour}" / SITE_PACKAGES.relative_to(PACKAGE)
    broken = code / "appliance/__init__.py"
    replace_file(broken, broken.read_text() + BROKEN)

    def starts() -> int:
        return int(host.container.must("systemctl", "show", "--value", "-p", "NRestarts", unit))

    with Visitors(host.container, "--only", "fresh", "dns-udp") as visitors:
        host.container.must("systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit)
        wait_until(lambda: starts() >= 3, "it to be tried again and again", 60)
        assert host.edges() == edges
        assert host.container.execute("watchducks", "status").returncode == 1
        back = host.container.must("watchducks-swap", "--back", seconds=SWAP_SECONDS)
        assert "has taken over" in back
    assert not visitors.found["failed"], json.dumps(visitors.found)
    assert host.running() == host.enabled() != colour
    assert not set(host.edges()) & set(edges)


def test_the_version_before_takes_over_again(host: Host) -> None:
    """And the tests below run it on what the newer one made of the registry and the log store."""
    package = host.container.root / SITE_PACKAGES
    migration = package / "registry/migrations/versions/9999_newer.py"
    registry, tables = package / "registry/migrations/__init__.py", package / "analytics/tables.py"
    older = {path: path.read_text() for path in (registry, tables)}
    assert (older[registry].count(OUR_HEAD), older[tables].count(LAST_TABLES)) == (1, 1)
    try:
        replace_file(migration, NEWER_REGISTRY)
        replace_file(registry, older[registry].replace(OUR_HEAD, 'HEAD: Final = "9999"'))
        replace_file(tables, older[tables].replace(LAST_TABLES, LAST_TABLES + NEWER_TABLES))
        host.swap()
    finally:
        migration.unlink()
        for path, text in older.items():
            replace_file(path, text)
    assert schema_of(host) == ("9999", HEAD)
    host.swap()
    assert schema_of(host) == ("9999", HEAD)


def test_a_colour_that_is_killed_is_back(host: Host) -> None:
    colour = host.running()

    def is_another(pid: int) -> bool:
        told = host.status().get(colour)
        return told is not None and told["pid"] != pid and told["checks"]["started"]

    with Visitors(host.container, "--only", "dns-tcp", "fresh") as visitors:
        for _ in range(2):
            pid = host.status()[colour]["pid"]
            host.container.must("systemctl", "kill", "--signal=KILL", f"watchducks@{colour}")
            wait_until(
                partial(is_another, pid),
                "the colour to be back",
                30,
            )
    # What was under way is lost with the process, and nothing else: no connection is refused.
    assert sum(visitors.found["failed"].values()) <= 2 * 4, visitors.found
    assert not any("Refused" in error for error in visitors.found["errors"])


def test_a_restart_refuses_nobody(host: Host) -> None:
    with Visitors(host.container, "--only", "fresh", "tls") as visitors:
        host.container.must("systemctl", "restart", "watchducks.service")
    assert not visitors.found["failed"], f"{visitors.found}\n{host.container.journal()}"


def test_the_colour_that_ran_is_back_after_a_reboot(host: Host) -> None:
    colour = host.running()
    host.container.reboot()
    host.restart_origin()
    wait_until(lambda: host.status().get(colour), "the colour that was enabled", 60)
    with Visitors(host.container, "--only", "fresh", "dns-udp") as visitors:
        visitors.wait_for(50)
    assert not visitors.found["failed"], visitors.found


def test_it_is_hardened(host: Host) -> None:
    said = host.container.must("systemd-analyze", "security", f"watchducks@{host.running()}")
    level = re.search(r"Overall exposure level.*?: ([0-9.]+)", said)
    assert level is not None
    assert float(level[1]) <= 2.0
    pid = host.status()[host.running()]["pid"]
    inside = host.container.must("cat", f"/proc/{pid}/status")
    assert re.search(r"^CapEff:\s+0+$", inside, re.MULTILINE)
    assert re.search(r"^Uid:\s+(?!0\b)\d+", inside, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", inside, re.MULTILINE)


def test_the_package_leaves_nothing(host: Host) -> None:
    host.container.must("dpkg", "--purge", "watchducks", seconds=120)
    root = host.container.root
    for path in ("opt/watchducks", "etc/watchducks", "var/lib/watchducks", "usr/bin/watchducks"):
        assert not (root / path).exists()
    units = host.container.must("systemctl", "list-units", "--all", "watchducks*", "--plain")
    assert "0 loaded units listed" in units
