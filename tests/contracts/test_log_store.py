"""The LogStore's contract, over chDB and ClickHouse."""

from __future__ import annotations

import math
import os
import signal
from array import array
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from tests.contracts.log_stores import KINDS, log_store, log_store_url
from tests.servers.clickhouse import ClickHouse
from tests.servers.waiting import eventually
from watchducks.background import StartupError, ThreadPool
from watchducks.model.log_servers import parse_log_servers
from watchducks.stores.blocks import Block, Numbers, Texts, places_of
from watchducks.stores.chdb import ChdbStore
from watchducks.stores.clickhouse import ClickHouseStore
from watchducks.stores.interfaces import LogStore, StoreRefused, StoreUnavailable
from watchducks.stores.logs import open_log_store

CLOCK: Any = reactor

NASTY = 'o\'clock \\ "q" %s %% \t\n\0 ü 🦆 -- /* */ ;'

TABLE = (
    "CREATE TABLE IF NOT EXISTS things (name String, word LowCardinality(String), time DateTime,"
    " small UInt16, big UInt64, signed Int64, share Float64)"
    " ENGINE = MergeTree PARTITION BY tuple() ORDER BY time"
)
COLUMNS = ("name", "word", "time", "small", "big", "signed", "share")
READ = "SELECT name, toString(word), toUnixTimestamp(time), small, big, signed, share FROM things"


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> str:
    return log_store_url(request.param, request)


async def answers(store: LogStore) -> bool:
    try:
        return await store.query("SELECT 1") == [(1,)]
    except StoreUnavailable:
        return False


@pytest_twisted.ensureDeferred
async def test_what_is_inserted_is_read_back_as_it_was(url: str) -> None:
    async with log_store(url, reactor) as store:
        await store.start()
        await store.execute(TABLE)
        data: list[list[Any]] = [
            [NASTY, "", "x" * 300],
            ["a", "a", "b"],
            [0, 1_764_000_000, 2**32 - 1],
            [0, 499, 65535],
            [0, 1, 2**64 - 1],
            [-(2**63), -1, 2**63 - 1],
            [0.0, 0.5, -1e300],
        ]
        await store.insert("things", COLUMNS, data, "first")

        rows = await store.query(f"{READ} ORDER BY time")

        assert rows == list(zip(*data, strict=True))


@pytest_twisted.ensureDeferred
async def test_a_block_arrives_as_the_same_values_in_lists_do(url: str) -> None:
    rows = 300  # more places than a byte has
    words = [NASTY, "", "x" * 300, "", *(f"{n}" for n in range(rows - 4))]
    places = [n * 7 % rows for n in range(rows)]
    distinct = [word.encode() for word in words]
    texts = Texts(distinct, places_of(places, rows))
    wide = Texts(distinct, Numbers(32, array("I", places).tobytes()))
    numbers = [(2**64 - 1) // rows * n for n in range(rows)]
    block = Block(
        rows,
        {
            "name": texts,
            "word": wide,
            "time": Numbers(32, array("I", [n >> 32 for n in numbers]).tobytes()),
            "small": Numbers(16, array("H", [n >> 48 for n in numbers]).tobytes()),
            "big": Numbers(64, array("Q", numbers).tobytes()),
        },
    )
    columns = tuple(block.columns)
    async with log_store(url, reactor) as store:
        await store.start()
        await store.execute(TABLE)
        await store.insert("things", columns, [c.values() for c in block.columns.values()], "lists")
        expected = await store.query(f"{READ} ORDER BY big")
        assert [row[0] for row in expected] == texts.values()
        await store.execute("DROP TABLE things")
        await store.execute(TABLE)

        await store.insert_block("things", block, "block")

        assert await store.query(f"{READ} ORDER BY big") == expected
        await store.execute("DROP TABLE things")
        await store.execute(TABLE)
        await store.insert_block(
            "things", Block(rows, {**block.columns, "name": wide, "word": texts}), "other widths"
        )
        assert await store.query(f"{READ} ORDER BY big") == expected
        one = Texts([b"one"], Numbers(8, bytes(2)))
        two = Block(2, {"name": one, "word": one, "big": Numbers(64, bytes(16))})
        await store.insert_block("things", two, "two")
        assert (
            await store.query("SELECT name, toString(word) FROM things WHERE name = 'one'")
            == [("one", "one")] * 2
        )


@pytest_twisted.ensureDeferred
async def test_a_block_that_does_not_fit_is_refused_and_the_next_one_is_taken(url: str) -> None:
    good = Block(1, {"name": Texts([b"a"], Numbers(8, bytes(1))), "big": Numbers(64, bytes(8))})
    async with log_store(url, reactor) as store:
        await store.start()
        await store.execute(TABLE)
        for wrong in (
            good._replace(rows=2),
            Block(1, {**good.columns, "no_such_column": Numbers(64, bytes(8))}),
            Block(1, {**good.columns, "big": Numbers(64, bytes(7))}),
        ):
            with pytest.raises(StoreRefused):
                await store.insert_block("things", wrong, "wrong")
        assert await store.query("SELECT count() FROM things") == [(0,)]
        await store.insert_block("things", good, "good")
        assert await store.query("SELECT count() FROM things") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_parameters_are_values_and_never_sql(url: str) -> None:
    async with log_store(url, reactor) as store:
        await store.start()
        assert await store.query("SELECT %(text)s", {"text": NASTY}) == [(NASTY,)]
        assert await store.query("SELECT 5-%(n)s, 10 %% 3", {"n": -1}) == [(6, 1)]
        assert await store.query(
            "SELECT 2 IN %(numbers)s, 'b' IN %(texts)s", {"numbers": (1, 2), "texts": ["a"]}
        ) == [(1, 0)]


@pytest_twisted.ensureDeferred
async def test_an_average_of_nothing_is_nan(url: str) -> None:
    async with log_store(url, reactor) as store:
        await store.start()
        rows = await store.query("SELECT avg(number) FROM numbers(1) WHERE number > 5")
        assert math.isnan(float(rows[0][0]))


@pytest_twisted.ensureDeferred
async def test_a_wrong_statement_is_refused_in_one_line_and_the_next_one_works(url: str) -> None:
    async with log_store(url, reactor) as store:
        await store.start()
        await store.execute(TABLE)
        with pytest.raises(StoreRefused) as wrong:
            await store.query("SELECT no_such_column FROM things")
        assert "no_such_column" in str(wrong.value)
        assert "\n" not in str(wrong.value)
        with pytest.raises(StoreRefused):
            await store.insert("no_such_table", ("a",), ([1],), "t")
        with pytest.raises(StoreRefused):
            await store.insert("things", ("name", "big"), (["a", "b"], [1]), "t")
        with pytest.raises(StoreRefused):
            await store.insert("things", ("big",), ([2**64],), "t")
        assert await store.query("SELECT count() FROM things") == [(0,)]


@pytest_twisted.ensureDeferred
async def test_a_token_counts_once_where_the_server_knows_it(url: str) -> None:
    async with log_store(url, reactor) as store:
        await store.start()
        knows = store.version >= (22, 3)
        settings = " SETTINGS non_replicated_deduplication_window = 100" if knows else ""
        await store.execute(TABLE + settings)
        data: list[list[Any]] = [["a"], ["b"], [1], [1], [1], [1], [1.0]]
        for token in ("one", "one", "two"):
            await store.insert("things", COLUMNS, data, token)
        assert await store.query("SELECT count() FROM things") == [(2 if knows else 3,)]
        block = Block(1, {"big": Numbers(64, bytes(8))})
        for token in ("two", "three", "three"):
            await store.insert_block("things", block, token)
        assert await store.query("SELECT count() FROM things") == [(3 if knows else 6,)]


@pytest_twisted.ensureDeferred
async def test_many_at_once_get_each_their_own_answer(url: str) -> None:
    async with log_store(url, reactor) as store:
        await store.start()
        asked: list[Deferred[Any]] = [
            Deferred.fromCoroutine(store.query("SELECT %(n)s", {"n": n})) for n in range(40)
        ]
        assert await gatherResults(asked) == [[(n,)] for n in range(40)]


@pytest_twisted.ensureDeferred
async def test_data_is_there_after_a_restart_of_ours(url: str) -> None:
    for expected in (0, 1):
        async with log_store(url, reactor) as store:
            await store.start()
            await store.execute(TABLE)
            assert await store.query("SELECT count() FROM things") == [(expected,)]
            await store.insert("things", ("name",), (["a"],), str(expected))


@pytest_twisted.ensureDeferred
async def test_before_the_start_and_after_the_stop_it_is_unavailable(url: str) -> None:
    async with log_store(url, reactor) as store:
        with pytest.raises(StoreUnavailable):
            await store.query("SELECT 1")
        await store.start()
        await store.stop()
        with pytest.raises(StoreUnavailable):
            await store.query("SELECT 1")


# --- ClickHouse ---------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_clickhouse_makes_its_database(clickhouse: ClickHouse) -> None:
    url = clickhouse.fresh_database().rpartition("/")[0] + "/made-by-us"
    async with log_store(url, reactor) as store:
        await store.start()
        assert await store.query("SELECT currentDatabase()") == [("made-by-us",)]
        clickhouse.execute("DROP DATABASE `made-by-us`")
        with pytest.raises(StoreRefused):
            await store.execute(TABLE)
        await store.start()
        await store.execute(TABLE)


@pytest_twisted.ensureDeferred
async def test_clickhouse_comes_back(clickhouse: ClickHouse) -> None:
    async with log_store(clickhouse.fresh_database(), reactor) as store:
        await store.start()
        clickhouse.stop()
        with pytest.raises(StoreUnavailable):
            await store.query("SELECT 1")
        clickhouse.start()

        async def back() -> bool:
            return await answers(store)

        await eventually(CLOCK, back, "the store", 20)


@pytest_twisted.ensureDeferred
async def test_a_frozen_clickhouse_is_noticed(clickhouse: ClickHouse) -> None:
    silence_seconds = 1.0
    pool = ThreadPool("logs", 1, reactor=CLOCK)
    pool.start()
    store = ClickHouseStore(
        parse_log_servers(clickhouse.fresh_database()),
        pool,
        clock=CLOCK,
        silence_seconds=silence_seconds,
    )
    try:
        await store.start()
        await store.execute(TABLE)
        clickhouse.pause()
        # On the connection that is there, and on a new one, which the kernel still accepts.
        for _ in range(2):
            began = CLOCK.seconds()
            with pytest.raises(StoreUnavailable):
                await store.insert("things", ("big",), ([1],), "t")
            assert CLOCK.seconds() - began < 3 * silence_seconds
        clickhouse.resume()
        assert await store.query("SELECT 1") == [(1,)]
    finally:
        await store.stop()
        pool.stop()


@pytest_twisted.ensureDeferred
async def test_a_frozen_clickhouse_does_not_keep_us_from_stopping(clickhouse: ClickHouse) -> None:
    async with log_store(clickhouse.fresh_database(), reactor) as store:
        await store.start()
        clickhouse.pause()
        asked: Deferred[Any] = Deferred.fromCoroutine(store.query("SELECT 1"))
        _ = asked.addErrback(lambda failure: failure.trap(StoreUnavailable))
        began = CLOCK.seconds()
        await store.stop()
        await asked
        assert CLOCK.seconds() - began < 10


@pytest_twisted.ensureDeferred
async def test_clickhouse_takes_no_block_while_the_same_is_under_way(
    clickhouse: ClickHouse,
) -> None:
    async with log_store(clickhouse.fresh_database(), reactor) as store:
        await store.start()
        await store.execute(
            "CREATE TABLE slow (a UInt8, b UInt8 DEFAULT sleepEachRow(1))"
            " ENGINE = MergeTree PARTITION BY tuple() ORDER BY a"
        )
        first = Deferred.fromCoroutine(store.insert("slow", ("a",), ([1, 2],), "token"))

        async def under_way() -> bool:
            rows = await store.query(
                "SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO slow%'"
            )
            return rows == [(1,)]

        await eventually(CLOCK, under_way, "the insert", 10)
        with pytest.raises(StoreUnavailable):
            await store.insert("slow", ("a",), ([1, 2],), "token")
        await first
        assert await store.query("SELECT count() FROM slow") == [(2,)]


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_is_not_repeated(clickhouse: ClickHouse) -> None:
    url = clickhouse.fresh_database().replace("default:@", "default:s3cret-word@")
    async with log_store(url, reactor) as store:
        with pytest.raises(StoreUnavailable) as error:
            await store.start()
        assert "s3cret-word" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "clickhouse://default:s3cret@127.0.0.1:99999/db",
        "clickhouse://default:s3cret@127.0.0.1:9000",
        "clickhouse://:s3cret@/db",
        "clickhouse://h:1/a/b",
        "chdb://host/path?s3cret",
        "chdb:relative",
        "postgres://u:s3cret@h/db",
    ],
)
def test_a_wrong_url_is_an_error_that_names_the_key(url: str) -> None:
    pool = ThreadPool("logs", 1, reactor=CLOCK)
    with pytest.raises(StartupError, match=r"^logs\.url: ") as error:
        open_log_store(url, pool=pool, reactor=reactor)
    assert "s3cret" not in str(error.value)


# --- chDB ---------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_killed_child_fails_its_calls_and_is_replaced(tmp_path: Path) -> None:
    async with log_store(f"chdb://{tmp_path}/logs", reactor) as store:
        assert isinstance(store, ChdbStore)
        await store.start()
        await store.execute(TABLE)
        await store.insert("things", ("name",), (["kept"],), "t")
        assert store.pid is not None
        running: Deferred[Any] = Deferred.fromCoroutine(
            store.query("SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 1")
        )
        os.kill(store.pid, signal.SIGKILL)
        with pytest.raises(StoreUnavailable):
            await running

        async def back() -> bool:
            return await answers(store)

        await eventually(CLOCK, back, "another child", 20)
        assert await store.query("SELECT name FROM things") == [("kept",)]


@pytest_twisted.ensureDeferred
async def test_the_directory_is_for_its_owner_and_for_one_process(tmp_path: Path) -> None:
    url = f"chdb://{tmp_path}/logs"
    async with log_store(url, reactor) as store:
        await store.start()
        assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
        async with log_store(url, reactor) as second:
            with pytest.raises(StoreUnavailable, match="another process uses"):
                await second.start()


@pytest_twisted.ensureDeferred
async def test_without_chdb_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The child's own path comes first in its search for modules.
    (tmp_path / "chdb.py").write_text("raise ImportError('no chdb here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with log_store(f"chdb://{tmp_path}/logs", reactor) as store:
        with pytest.raises(StartupError, match=r"pip install watchducks\[embedded\]"):
            await store.start()


@pytest_twisted.ensureDeferred
async def test_a_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with log_store(f"chdb://{tmp_path}/file/logs", reactor) as store:
        with pytest.raises(StoreUnavailable, match="file"):
            await store.start()
