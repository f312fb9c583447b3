"""Migrations give the schema that the program expects, on SQLite and MariaDB, from any start."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
import pytest_twisted
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import make_url
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.contracts.stores_under_test import open_registry, open_store, thread_pool, zone_keys
from tests.servers.mariadb import MariaDB
from tests.servers.waiting import eventually
from watchducks.background import StartupError
from watchducks.model.origins import parse_origin
from watchducks.model.signing import UNSIGNED
from watchducks.model.sites import DEFAULT_CHOICES, Registration, SiteState
from watchducks.model.zones import DEFAULT_CONTENTS
from watchducks.registry import migrations
from watchducks.registry.migrations import HEAD, is_current, migrate
from watchducks.registry.registry import Registry
from watchducks.registry.schema import metadata
from watchducks.stores.sql import SqlStore

REACTOR: Any = reactor
HOSTS = 3
# Programs of before refuse every schema that they do not know.
FIRST_THAT_LOOKS = "0014"
A_HOST = """
import sys
from twisted.internet import reactor
from twisted.internet.task import react
from twisted.internet.defer import Deferred
from tests.contracts.stores_under_test import open_registry

async def main(reactor):
    print("ready", flush=True)
    sys.stdin.readline()
    async with open_registry(sys.argv[1], reactor) as registry:
        print((await registry.head()).lineage)

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database; its path has what is special in URLs and configurations."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/100% ducks/registry.sqlite"
    server: MariaDB = request.getfixturevalue("mariadb")
    return server.fresh_database()


def execute(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


@pytest_twisted.ensureDeferred
async def test_migrations_and_schema_agree(url: str) -> None:
    async with open_store(url, reactor) as store:
        assert not await store.read(is_current)
        await store.write(migrate)
        assert await store.read(is_current)
        assert await store.read(differences) == []
        # The comparison itself notices a column more.
        await store.write(lambda c: execute(c, "ALTER TABLE sites ADD COLUMN x INT"))
        assert len(await store.read(differences)) == 1


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


@pytest_twisted.ensureDeferred
async def test_migrating_again_changes_nothing(url: str) -> None:
    async with open_registry(url, reactor) as registry, open_store(url, reactor) as store:
        head = await registry.head()
        await store.write(migrate)
        assert await registry.head() == head


@pytest_twisted.ensureDeferred
async def test_a_migration_that_was_broken_off_is_repeated(url: str) -> None:
    async with open_store(url, reactor) as store:
        await store.write(migrate)

        def break_off(connection: Connection) -> None:
            for table in ("alembic_version", "cutovers", "leases", "removals", "scans", "tokens"):
                connection.execute(text(f"DROP TABLE {table}"))
            connection.execute(text("DELETE FROM registry"))
            index = "DROP INDEX ix_sites_revision"
            on = " ON sites" if connection.dialect.name == "mysql" else ""
            connection.execute(text(index + on))

        await store.write(break_off)
        await store.write(migrate)
        assert await store.read(differences) == []
    async with open_registry(url, reactor) as registry:
        assert await registry.revision() == 0


def back_to_0001(connection: Connection) -> None:
    """Make the tables those of the first release."""
    for table in (
        "acme",
        "certificates",
        "challenges",
        "cutovers",
        "leases",
        "scans",
        "visitor_keys",
    ):
        connection.execute(text(f"DROP TABLE {table}"))
    for column in (
        *("origin_tls", "origin_pin", "redirect_to_https", "hsts_seconds"),
        *("contents", "signing", "drill_until", "suspended"),
        *("keep_networks", "query_parameters", "honour_gpc", "ranked"),
    ):
        connection.execute(text(f"ALTER TABLE sites DROP COLUMN {column}"))
    connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))


# What is there already after a migration that MariaDB broke off, where each column is committed by
# itself.
HALVES = (
    None,
    "ALTER TABLE sites ADD COLUMN origin_tls VARCHAR(16) DEFAULT 'verify' NOT NULL",
    "ALTER TABLE sites ADD COLUMN contents MEDIUMBLOB",
    "ALTER TABLE sites ADD COLUMN signing BLOB",
    "ALTER TABLE sites ADD COLUMN honour_gpc BOOL DEFAULT false NOT NULL",
)


@pytest.mark.parametrize("half", HALVES)
@pytest_twisted.ensureDeferred
async def test_sites_of_the_first_release_get_the_defaults(url: str, half: str | None) -> None:
    registration = Registration(
        "ducks", "ducks.example", parse_origin("203.0.113.7"), "o@mail.example", "default"
    )
    async with open_registry(url, reactor) as registry:
        site, _ = await registry.register(registration)
    async with open_store(url, reactor) as store:
        await store.write(back_to_0001)
        if half is not None:
            statement = half
            await store.write(lambda c: execute(c, statement))
        assert not await store.read(is_current)
    async with open_registry(url, reactor) as registry, open_store(url, reactor) as store:
        assert await registry.site("ducks") == replace(site, state=SiteState.DELEGATED)
        assert site.choices is DEFAULT_CHOICES
        assert site.contents is DEFAULT_CONTENTS
        assert site.signing is UNSIGNED
        assert await store.read(differences) == []


@pytest_twisted.ensureDeferred
async def test_what_is_sealed_already_says_with_which_key(url: str) -> None:
    def back_to_0014(connection: Connection) -> None:
        execute(connection, "ALTER TABLE registry DROP COLUMN key_id")
        execute(connection, "UPDATE alembic_version SET version_num = '0014'")
        sealed = b"\x01\xc0\xff\xee\x00 a secret"
        statement = text("INSERT INTO acme (name, sealed) VALUES ('account', :sealed)")
        connection.execute(statement, {"sealed": sealed})

    def key_id(connection: Connection) -> bytes:
        return bytes(connection.execute(text("SELECT key_id FROM registry")).scalar_one())

    async with open_store(url, reactor) as store:
        await store.write(migrate)
        await store.write(back_to_0014)
        await store.write(migrate)
        assert await store.read(key_id) == b"\xc0\xff\xee\x00"
        assert await store.read(differences) == []


def upgrade_beyond(connection: Connection, folder: Path, oldest_program: str) -> None:
    """Do what a newer program does, which knows one migration more."""
    own = Path(migrations.__file__).parent
    (folder / "9999_newer.py").write_text(
        f"""
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{HEAD}"
branch_labels = None
depends_on = None
oldest_program = "{oldest_program}"


def upgrade() -> None:
    op.add_column("sites", sa.Column("ducks", sa.Integer, nullable=False, server_default="3"))
"""
    )
    config = Config()
    config.set_main_option("script_location", str(own))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", f"{own / 'versions'}\n{folder}")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@pytest_twisted.ensureDeferred
async def test_an_older_program_starts_on_a_newer_schema_that_only_adds(
    url: str, tmp_path: Path
) -> None:
    async with open_store(url, reactor) as store:
        await store.write(migrate)
        await store.write(lambda c: upgrade_beyond(c, tmp_path, HEAD))
        assert await store.read(is_current)
    registration = Registration(
        "ducks", "ducks.example", parse_origin("203.0.113.7"), "o@mail.example", "default"
    )
    async with open_registry(url, reactor) as registry:
        site, _ = await registry.register(registration)
        assert await registry.site("ducks") == site
    async with open_store(url, reactor) as store:
        await store.write(migrate)  # nor does it touch what it does not know
        found = await store.read(lambda c: c.execute(text("SELECT ducks FROM sites")).all())
        assert found == [(3,)]


@pytest_twisted.ensureDeferred
async def test_an_older_program_does_not_start_on_a_schema_that_takes_away(
    url: str, tmp_path: Path
) -> None:
    async with open_store(url, reactor) as store:
        await store.write(migrate)
        await store.write(lambda c: upgrade_beyond(c, tmp_path, "9999"))
        assert not await store.read(is_current)
    await must_be_refused(url)


def test_each_migration_names_the_oldest_program() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    newest_first = ScriptDirectory.from_config(config).walk_revisions(FIRST_THAT_LOOKS, "head")
    oldest = [FIRST_THAT_LOOKS]
    for script in reversed(list(newest_first)):
        # Whom one migration has shut out no later one lets in again.
        assert oldest[-1] <= script.module.oldest_program <= script.revision
        oldest.append(script.module.oldest_program)


@pytest_twisted.ensureDeferred
async def test_a_newer_database_is_refused_with_one_line(url: str) -> None:
    async with open_store(url, reactor) as store:
        await store.write(migrate)
        unknown = "UPDATE alembic_version SET version_num = '9999', oldest_program = NULL"
        await store.write(lambda c: execute(c, unknown))
    await must_be_refused(url)


async def must_be_refused(url: str) -> None:
    async with thread_pool(reactor) as pool:
        registry = Registry(SqlStore(url, pool), clock=reactor, keys=zone_keys())
        with pytest.raises(StartupError, match=r"^registry\.url: .*9999.*newer") as caught:
            await registry.start()
        assert "\n" not in str(caught.value)
        await registry.stop()


def test_hosts_that_start_at_once_agree(url: str) -> None:
    root = Path(__file__).parents[2]
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", A_HOST, url],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(HOSTS)
    ]
    for host in hosts:
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n"
    for host in hosts:
        assert host.stdin is not None
        host.stdin.write("go\n")
        host.stdin.flush()
    outputs = [host.communicate(timeout=50)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0] * HOSTS, outputs
    assert len(set(outputs)) == 1
    assert len(outputs[0].strip()) == 32


@pytest_twisted.ensureDeferred
async def test_a_host_waits_for_another_ones_migration(mariadb: MariaDB) -> None:
    url = mariadb.fresh_database()
    address = make_url(url)
    other = pymysql.connect(
        host=address.host,
        port=address.port or 0,
        user=address.username,
        password=str(address.password),
        database=address.database,
    )
    with other, other.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(CONCAT('watchducks.', MD5(DATABASE())), 0)")
        async with open_store(url, reactor) as store:
            migrating = Deferred.fromCoroutine(store.write(migrate))

            async def waiting() -> bool:
                cursor.execute("SELECT STATE FROM information_schema.PROCESSLIST")
                return ("User lock",) in cursor.fetchall()

            await eventually(REACTOR, waiting, "the lock to be waited for", 10)
            assert not await store.read(is_current)
            cursor.execute("DO RELEASE_ALL_LOCKS()")
            await migrating
            assert await store.read(is_current)


@pytest_twisted.ensureDeferred
async def test_a_failed_sqlite_migration_leaves_nothing(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/registry.sqlite", reactor) as store:

        def fail(connection: Connection) -> None:
            migrate(connection)
            raise RuntimeError

        with pytest.raises(RuntimeError):
            await store.write(fail)
        assert await store.read(lambda c: inspect(c).get_table_names()) == []
