"""The shipper on a clock, over the fake log store: order, outages, refusals, and never twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import pytest_twisted
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from tests.unit.journal.samples import KNOWLEDGE, AtOnce, file_of, row
from watchducks.background import StartupError
from watchducks.journal.agreement import EVERY_SECONDS, WAIT_SECONDS, SharedKeys
from watchducks.journal.bound import BOUND_EVERY_SECONDS
from watchducks.journal.delivery import SETTLE_SECONDS
from watchducks.journal.encoder import Encoder
from watchducks.journal.enrich import HOUR_SECONDS
from watchducks.journal.losses import Losses
from watchducks.journal.segments import Segment, SegmentDirectory, mark_shipping
from watchducks.journal.shipments import (
    LATE_SECONDS,
    MAX_SEGMENTS,
    SHIPMENT_BYTES,
    Shipment,
    shipments_of,
)
from watchducks.journal.shipper import (
    LONGEST_RETRY_SECONDS,
    SCAN_SECONDS,
    STOP_SECONDS,
    Shipper,
)
from watchducks.journal.spool import Spool
from watchducks.journal.visitors import DAY_US
from watchducks.stores.blocks import Block
from watchducks.stores.interfaces import Cluster, StoreRefused, StoreUnavailable, Value
from watchducks.stores.logs_fake import FakeLogStore

BEGIN = row().time_us / 1e6
TODAY = row().time_us // DAY_US


class FakeTables:
    """Counts how often the tables were made right; ``cures`` are tokens that then are taken.

    :ivar doubts: what is doubted, and which hours of it.
    """

    def __init__(self, store: FakeLogStore) -> None:
        self.store = store
        self.ready = True
        self.applied = 0
        self.cures: set[str] = set()
        self.broken = False
        self.doubts: list[tuple[str, list[int]]] = []

    async def doubt(self, tokens: Collection[str], hours: Collection[int]) -> None:
        self.doubts += [(token, list(hours)) for token in tokens]

    async def apply(self) -> None:
        self.applied += 1
        if self.broken:
            raise StoreRefused("no right to create tables")
        self.store.refuse -= self.cures


class World:
    """A spool and a shipper as one process has them; may crash and come again."""

    def __init__(
        self,
        directory: Path,
        spool_bytes: int = 1024**3,
        *,
        waits: bool = False,
        shared: SharedKeys | None = None,
        store: FakeLogStore | None = None,
    ) -> None:
        self.shared = shared
        self.directory = directory
        self.clock = Clock()
        self.store = store or FakeLogStore()
        self.tables = FakeTables(self.store)
        self.spool_bytes = spool_bytes
        self.waits = waits
        self.start()

    def now(self) -> float:
        return BEGIN + self.clock.seconds()

    def start(self) -> None:
        losses = Losses(self.directory / "journal" / "lost-rows.json")
        self.shipper = Shipper(
            self.directory / "spool",
            self.directory / "journal",
            self.store,
            self.tables,
            losses,
            KNOWLEDGE,
            self.shared,
            pool=AtOnce(),
            clock=self.clock,
            now=self.now,
            spool_bytes=self.spool_bytes,
            node="edge-1",
            waits=self.waits,
        )
        self.spool = Spool(
            self.directory / "spool",
            "edge-1",
            losses,
            flush_seconds=5,
            flush_rows=1000,
            clock=self.clock,
            on_sealed=self.shipper.nudge,
            now=self.now,
        )
        run(self.shipper.start())
        run(self.spool.start())

    def crash(self) -> None:
        """End without stopping anything, as kill -9 does."""
        clock = Clock()  # on the old one nothing happens any more
        clock.advance(self.clock.seconds())
        self.clock = clock
        # The kernel does it for a dead process; it ends the locks.
        if self.spool._fd is not None:
            os.close(self.spool._fd)
        self.shipper._lock.release()

    def record(self, *numbers: int, **changes: Any) -> None:
        for number in numbers:
            self.spool.record(row(number, **changes))
        self.clock.advance(0)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
        self.clock.advance(0)

    def stored(self) -> list[str]:
        return [str(one["path"]) for one in self.store.rows if "path" in one]

    def files(self, suffix: str) -> list[Path]:
        return sorted((self.directory / "spool").glob(f"*{suffix}"))


def run(coroutine: Any) -> Any:
    """The result of a coroutine that does not have to wait."""
    results: list[Any] = []
    _ = Deferred.fromCoroutine(coroutine).addBoth(results.append)
    (result,) = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_row_is_in_the_store_as_soon_as_its_segment_is_sealed(world: World) -> None:
    world.record(1, 2)
    world.clock.advance(4.9)
    assert world.stored() == []
    world.clock.advance(0.1)
    world.clock.advance(0)
    assert world.stored() == ["/1", "/2"]
    assert world.shipper.shipped == 2
    assert list((world.directory / "spool").iterdir()) == []


def test_an_outage_keeps_rows_in_order_and_tries_ever_less_often(world: World) -> None:
    world.store.available = False
    for number in range(10):
        world.record(number)
        world.pass_time(6)
    world.store.available = True
    assert world.stored() == []
    world.pass_time(LONGEST_RETRY_SECONDS + SETTLE_SECONDS + 1)
    assert world.stored() == [f"/{number}" for number in range(10)]


def test_a_lost_acknowledgement_inserts_nothing_twice(world: World) -> None:
    world.store.lose_acknowledgements = 1
    world.record(1)
    world.pass_time(6)
    assert world.files(".shipping")
    assert world.tables.doubts == []
    world.pass_time(5)
    assert world.stored() == ["/1"]
    assert world.files("") == []
    assert len(world.tables.doubts) == 1


def test_a_store_gets_time_to_finish_before_it_is_asked(tmp_path: Path) -> None:
    asked: list[tuple[float, bool]] = []

    class Watched(FakeLogStore):
        async def query(self, sql: str, parameters: Any = None) -> Any:
            asked.append((here.clock.seconds(), parameters is not None))
            return await super().query(sql, parameters)

    store = Watched()
    here = World(tmp_path, store=store)
    store.lose_acknowledgements = 1
    here.record(1)
    here.pass_time(12)
    (contact, _), (question, about_the_segment) = asked
    assert about_the_segment
    assert question - contact >= SETTLE_SECONDS
    assert len(store.rows) == 1


def test_a_crash_between_insert_and_acknowledgement(world: World) -> None:
    world.store.lose_acknowledgements = 1
    world.record(1)
    world.clock.advance(5)
    world.clock.advance(0)
    world.crash()
    world.start()
    world.record(2)
    world.pass_time(10)
    assert world.stored() == ["/1", "/2"]


def test_a_segment_over_midnight_whose_second_day_failed(world: World) -> None:
    next_day = (row().time_us // DAY_US + 1) * DAY_US
    world.record(1)
    world.record(2, time_us=next_day)
    world.store.lose_acknowledgements = 1
    world.pass_time(12)
    assert sorted(world.stored()) == ["/1", "/2"]


def seal(world: World, count: int, **changes: Any) -> list[str]:
    """Let so many segments of one row each wait to be shipped together; return their names."""
    world.tables.ready = False
    for number in range(count):
        world.record(number, **changes)
        world.pass_time(5.5)
    world.tables.ready = True
    return [path.stem for path in world.files(".segment")]


def test_segments_that_wait_are_one_block(world: World) -> None:
    names = seal(world, 3)
    world.pass_time(2)
    assert world.stored() == ["/0", "/1", "/2"]
    assert len(world.store.tokens) == 1
    assert [one["segment"] for one in world.store.rows] == [f"{name}/{TODAY}" for name in names]
    assert world.files("") == []
    assert world.tables.doubts == []


def test_what_was_sent_together_is_sent_again_as_the_same_block(world: World) -> None:
    seal(world, 3)
    world.store.lose_inserts = 2
    world.pass_time(2)
    assert len(world.files(".shipping")) == 3
    world.crash()
    world.start()
    world.record(3)
    world.pass_time(20)
    assert world.stored() == ["/0", "/1", "/2", "/3"]
    first, second, third, last = world.store.tokens
    assert first == second == third != last


def test_a_block_that_is_there_is_found_by_each_of_its_segments(world: World) -> None:
    names = seal(world, 3)
    world.store.lose_acknowledgements = 1
    world.pass_time(2)
    # Killed in the middle of the deletion after all.
    world.files(".shipping")[0].unlink()
    world.crash()
    world.start()
    world.pass_time(5)
    assert world.stored() == ["/0", "/1", "/2"]
    assert (len(world.store.tokens), world.files("")) == (1, [])
    assert [token for token, _ in world.tables.doubts] == [f"{name}/{TODAY}" for name in names[1:]]


def test_killed_in_the_middle_of_the_marks(world: World) -> None:
    seal(world, 3)
    (shipment,) = shipments_of(SegmentDirectory(world.directory / "spool").waiting())
    mark_shipping(shipment.segments[0], shipment.mark)
    world.crash()
    world.start()
    world.pass_time(5)
    assert sorted(world.stored()) == ["/0", "/1", "/2"]
    assert world.files("") == []


def test_a_block_of_which_some_is_there_is_completed(world: World) -> None:
    seal(world, 1)
    world.store.lose_acknowledgements = 1
    world.pass_time(1)
    (there,) = world.files(".shipping")
    # Nobody does this but with his hands.
    other = there.with_name(there.name.replace("edge-1-", "edge-2-"))
    other.write_bytes(file_of(row(7)))
    world.pass_time(10)
    assert sorted(world.stored()) == ["/0", "/7"]
    assert world.files("") == []


def test_a_refused_segment_takes_none_of_its_block_along(world: World) -> None:
    names = seal(world, 3)
    together = Shipment(tuple(SegmentDirectory(world.directory / "spool").waiting())).name
    world.store.refuse = {f"{together}/{TODAY}", f"{names[1]}/{TODAY}"}
    world.pass_time(5)
    assert world.stored() == ["/0", "/2"]
    assert [path.stem for path in world.files("")] == [names[1]]
    assert world.shipper.rejected == 1


def test_hours_that_are_over_are_doubted_before_their_rows_come(tmp_path: Path) -> None:
    hour = int(BEGIN) // HOUR_SECONDS * HOUR_SECONDS

    class Doubted(FakeLogStore):
        async def insert_block(self, table: str, block: Block, token: str) -> None:
            doubts.append(list(here.tables.doubts))
            await super().insert_block(table, block, token)

    doubts: list[list[tuple[str, list[int]]]] = []
    here = World(tmp_path, store=Doubted())
    # Until a minute after an hour's end its rows are on time.
    here.clock.advance(hour + HOUR_SECONDS + LATE_SECONDS - 6 - BEGIN)
    here.record(0, time_us=hour * 1_000_000)
    here.pass_time(6)
    here.record(1, time_us=hour * 1_000_000)
    here.record(2, time_us=(hour + HOUR_SECONDS) * 1_000_000)
    here.pass_time(7)
    assert here.stored() == ["/0", "/1", "/2"]
    assert doubts == [[], [(str(here.store.rows[-1]["segment"]), [hour])]]


def test_rows_for_a_cluster_say_when_they_came_by_its_clock(tmp_path: Path) -> None:
    class InACluster(FakeLogStore):
        settlements = 0

        @property
        def cluster(self) -> Cluster:
            return Cluster("ducks", "logs")

        async def settled(self) -> None:
            self.settlements += 1

        async def query(self, sql: str, parameters: Any = None) -> list[tuple[Value, ...]]:
            if sql == "SELECT toUInt32(now())":
                return [(1_700_000_000 + len(self.rows),)]
            return await super().query(sql, parameters)

    store = InACluster()
    here = World(tmp_path, store=store)
    here.record(0)
    here.record(1)
    here.pass_time(7)
    # An insert that is made again elsewhere has the same rows, down to their moment.
    assert [row["shipped"] for row in store.rows] == [1_700_000_000] * 2
    assert store.settlements == 0
    # What may be there already is asked for when all replicas have what any of them has.
    store.lose_acknowledgements = 1
    here.record(2)
    here.pass_time(30)
    assert [row["shipped"] for row in store.rows] == [1_700_000_000] * 2 + [1_700_000_002]
    assert store.settlements == 1


def test_shipments_are_bounded_and_of_one_kind() -> None:
    def segment(number: int, size: int, name: str = "edge-1") -> Segment:
        name = f"{name}-{number:016d}-00"
        return Segment(name, Path(f"{name}.segment"), size, doubtful=False)

    def counts(*segments: Segment) -> list[int]:
        return [len(shipment.segments) for shipment in shipments_of(segments)]

    half = SHIPMENT_BYTES // 2
    assert counts() == []
    assert counts(*[segment(n, half) for n in range(5)]) == [2, 2, 1]
    assert counts(segment(1, 3 * half), segment(2, 1), segment(3, 1)) == [1, 2]
    assert counts(*[segment(n, 1) for n in range(MAX_SEGMENTS + 1)]) == [MAX_SEGMENTS, 1]
    assert counts(segment(1, 1), segment(2, 1, "import"), segment(3, 1, "import")) == [1, 2]
    marked = [segment(n, 1)._replace(doubtful=True, mark="ab") for n in (1, 3)]
    alone = segment(4, 1)._replace(doubtful=True)
    assert counts(marked[0], segment(2, 1), marked[1], alone, segment(5, 1)) == [2, 1, 1, 1]
    names = {shipment.name for shipment in shipments_of([segment(n, half) for n in range(9)])}
    assert len(names) == 5


def test_a_refused_segment_does_not_stop_those_behind_it(world: World) -> None:
    world.record(1)
    (path,) = world.files(".open")
    world.store.refuse = {f"{path.stem}/{TODAY}"}
    world.clock.advance(5)
    world.record(2)
    world.pass_time(10)
    assert world.stored() == ["/2"]
    assert world.shipper.rejected == 1
    (rejected,) = world.files(".rejected")
    # A person may have it tried again.
    world.store.refuse.clear()
    rejected.rename(rejected.with_suffix(".shipping"))
    world.pass_time(3)
    assert sorted(world.stored()) == ["/1", "/2"]


def test_tables_that_somebody_dropped_are_made_again(world: World) -> None:
    world.record(1)
    (path,) = world.files(".open")
    world.store.refuse = {f"{path.stem}/{TODAY}"}
    world.tables.cures = set(world.store.refuse)
    world.pass_time(7)
    assert world.stored() == ["/1"]
    assert (world.tables.applied, world.shipper.rejected) == (1, 0)


def test_tables_that_cannot_be_made_put_no_segment_aside(world: World) -> None:
    world.tables.broken = True
    world.record(1)
    (path,) = world.files(".open")
    world.store.refuse = {f"{path.stem}/{TODAY}"}
    world.pass_time(30)
    assert world.files(".rejected") == []
    world.tables.broken = False
    world.store.refuse.clear()
    world.pass_time(20)
    assert world.stored() == ["/1"]


def test_nothing_is_tried_before_the_tables_are_ready(world: World) -> None:
    world.tables.ready = False
    world.record(1)
    world.pass_time(10)
    assert world.stored() == []
    world.tables.ready = True
    world.pass_time(2)
    assert world.stored() == ["/1"]


def test_a_torn_segment_ships_its_rows_and_a_damaged_one_is_kept(world: World) -> None:
    spool = world.directory / "spool"
    whole = file_of(row(1))
    torn = Encoder().encode([row(2)]).content[:50]
    (spool / "edge-1-0000000000000001-00.segment").write_bytes(whole + torn)
    (spool / "edge-1-0000000000000002-00.segment").write_bytes(whole + b"x" * 200_000)
    world.pass_time(3)
    assert world.stored() == ["/1", "/1"]
    assert [path.name for path in world.files("")] == ["edge-1-0000000000000002-00.rejected"]
    assert world.shipper.lost_bytes == 50 + 200_000


def test_a_full_spool_drops_the_oldest_and_counts_them_by_site(tmp_path: Path) -> None:
    world = World(tmp_path, spool_bytes=1000)
    world.store.available = False
    with capturedLogs() as events:
        for number in range(20):
            world.record(number, site_id=number % 3)
            world.pass_time(6)
        world.pass_time(BOUND_EVERY_SECONDS)
    logged = [formatEvent(event) for event in events]
    assert sum("spool_bytes: the spool is full" in str(line) for line in logged) == 1
    assert sum(path.stat().st_size for path in world.files("")) <= 1000
    assert world.shipper.spooled_bytes <= 1000
    world.store.available = True
    world.pass_time(LONGEST_RETRY_SECONDS + 5)
    kept = world.stored()
    assert kept == [f"/{number}" for number in range(20 - len(kept), 20)]
    dropped = {site: loss.rows for site, loss in world.spool.dropped().items()}
    lost = range(20 - len(kept))
    assert dropped == {site: len([n for n in lost if n % 3 == site]) for site in range(3)}
    # They are known after a crash, too.
    world.crash()
    world.start()
    assert {site: loss.rows for site, loss in world.spool.dropped().items()} == dropped


def test_yesterdays_visitor_key_is_destroyed(world: World) -> None:
    keys = world.directory / "journal" / "visitor-keys.json"
    world.record(1)
    world.pass_time(6)
    first = keys.read_text()
    world.clock.advance(2 * 86400)
    world.pass_time(1)
    assert world.store.rows[0]["visitor"] != 0
    assert '"keys": {}' in keys.read_text() != first
    # Nor does anybody remember which address had which id.
    assert KNOWLEDGE._known.cache_info().currsize == 0


class Agreeing:
    """The other hosts, as a test has them.

    :ivar keys: day -> what they agreed on.
    """

    def __init__(self) -> None:
        self.keys: dict[int, bytes] = {}
        self.available = True
        self.asked = 0

    async def agree(self, day: int, proposal: bytes) -> bytes:
        self.asked += 1
        if not self.available:
            raise StoreUnavailable("the registry is away")
        return self.keys.setdefault(day, proposal)


def visitors(world: World) -> list[object]:
    return [one["visitor"] for one in world.store.rows]


def test_a_visitor_of_two_proxies_is_one(tmp_path: Path) -> None:
    shared = Agreeing()
    hosts = [World(tmp_path / name, shared=shared) for name in "ab"]
    for world in hosts:
        world.record(1)
        world.pass_time(7)
    assert visitors(hosts[0]) == visitors(hosts[1])
    today = int(BEGIN * 1e6) // DAY_US
    assert sorted(shared.keys) == [today, today + 1]
    # Nobody is asked again: not that minute, nor after a restart, nor while the registry is away.
    asked, shared.available = shared.asked, False
    for world in hosts:
        world.crash()
        world.start()
        world.record(2)
        world.pass_time(EVERY_SECONDS + 7)
    assert shared.asked == asked
    assert visitors(hosts[0]) == visitors(hosts[1])
    assert len(set(visitors(hosts[0]))) == 1


def test_without_the_registry_a_host_goes_on_with_a_key_of_its_own(tmp_path: Path) -> None:
    shared = Agreeing()
    shared.available = False
    alone = World(tmp_path / "a", shared=shared)
    alone.record(1)
    alone.pass_time(7)
    assert len(alone.stored()) == 1
    # Others have agreed meanwhile; its visitors stay who they are until the day is over.
    shared.available = True
    other = World(tmp_path / "b", shared=shared)
    alone.pass_time(EVERY_SECONDS)
    alone.record(2)
    alone.pass_time(7)
    assert len(set(visitors(alone))) == 1
    asked = shared.asked
    alone.pass_time(2 * EVERY_SECONDS)
    assert shared.asked == asked
    other.record(1)
    other.pass_time(7)
    assert visitors(other)[0] != visitors(alone)[0]


def test_a_key_that_was_used_alone_is_what_the_others_get(tmp_path: Path) -> None:
    shared = Agreeing()
    shared.available = False
    first = World(tmp_path / "a", shared=shared)
    first.record(1)
    first.pass_time(7)
    shared.available = True
    first.pass_time(EVERY_SECONDS)
    second = World(tmp_path / "b", shared=shared)
    second.record(1)
    second.pass_time(7)
    assert visitors(second) == visitors(first)


def test_a_registry_that_says_nothing_does_not_hold_rows_up(tmp_path: Path) -> None:
    class Silent:
        async def agree(self, day: int, proposal: bytes) -> bytes:
            await Deferred()
            raise AssertionError

    world = World(tmp_path, shared=Silent())
    world.record(1)
    world.pass_time(WAIT_SECONDS + 7)
    assert len(world.stored()) == 1


@pytest_twisted.ensureDeferred
async def test_stop_ships_what_is_there(world: World) -> None:
    world.record(1)
    await world.spool.stop()
    await world.shipper.stop()
    assert world.stored() == ["/1"]
    world.start()  # the lock was given back


def test_stop_is_bounded_and_leaves_the_rest(tmp_path: Path) -> None:
    hanging: Deferred[None] = Deferred()

    class Hangs(FakeLogStore):
        async def insert_block(self, *_: object) -> None:
            await hanging

    world = World(tmp_path, store=Hangs())
    world.record(1)
    run(world.spool.stop())
    stopped = Deferred.fromCoroutine(world.shipper.stop())
    world.pass_time(STOP_SECONDS + 1)
    assert stopped.called
    assert world.files(".shipping")


def test_only_one_shipper_has_the_spool(world: World) -> None:
    with pytest.raises(StartupError, match=r"node\.data_dir: another WatchDucks"):
        World(world.directory)


def test_an_instance_waits_for_the_other_and_then_ships_what_it_left(world: World) -> None:
    world.record(1)
    second = World(world.directory, waits=True)
    second.record(2)
    second.pass_time(10)
    assert second.stored() == []
    assert len(second.files(".segment")) == 1  # the first one would ship it
    world.crash()
    second.pass_time(SCAN_SECONDS + 1)
    assert sorted(second.stored()) == ["/1", "/2"]
    assert second.files("") == []


def test_the_fake_fails_as_the_store_does() -> None:
    store = FakeLogStore()
    store.available = False
    with pytest.raises(StoreUnavailable):
        run(store.start())


class Journey(RuleBasedStateMachine):
    """Rows, crashes, lost acknowledgements, outages: in the end each row is there once."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(mkdtemp())
        self.world = World(self.directory)
        self.recorded = 0

    def teardown(self) -> None:
        try:
            self.world.store.available = True
            self.world.store.lose_acknowledgements = 0
            self.world.store.lose_inserts = 0
            self.world.tables.ready = True
            self.world.pass_time(2 * LONGEST_RETRY_SECONDS)
            assert sorted(self.world.stored()) == sorted(f"/{n}" for n in range(self.recorded))
            assert self.world.files("") == []
        finally:
            self.world.crash()
            shutil.rmtree(self.directory)

    @rule(count=st.integers(1, 3))
    def record(self, count: int) -> None:
        self.world.record(*range(self.recorded, self.recorded + count))
        self.recorded += count

    @rule(seconds=st.sampled_from([0.5, 1, 5, 20]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule()
    def kill(self) -> None:
        self.world.crash()
        self.world.start()

    @rule()
    def go_away(self) -> None:
        self.world.store.available = False

    @precondition(lambda self: not self.world.store.available)
    @rule()
    def come_back(self) -> None:
        self.world.store.available = True

    @rule(times=st.integers(1, 3))
    def lose_acknowledgements(self, times: int) -> None:
        self.world.store.lose_acknowledgements = times

    # No preconditions: segments of the same moment have an order by chance.
    @rule(count=st.integers(1, 3))
    def kill_in_the_middle_of_the_marks(self, count: int) -> None:
        waiting = SegmentDirectory(self.directory / "spool").waiting()
        sealed = [one for one in shipments_of(waiting) if not one.doubtful]
        for shipment in sealed[:1]:
            for segment in shipment.segments[:count]:
                mark_shipping(segment, shipment.mark)
        self.kill()

    @rule(count=st.integers(1, 3))
    def kill_in_the_middle_of_the_deletion(self, count: int) -> None:
        known = {str(one["segment"]).rpartition("/")[0] for one in self.world.store.rows}
        marked = SegmentDirectory(self.directory / "spool").waiting()
        stored = [segment for segment in marked if segment.doubtful and segment.name in known]
        for segment in stored[:count]:
            segment.path.unlink()
        self.kill()

    @rule(times=st.integers(1, 3))
    def lose_inserts(self, times: int) -> None:
        self.world.store.lose_inserts = times

    @rule(is_ready=st.booleans())
    def let_segments_wait(self, is_ready: bool) -> None:
        self.world.tables.ready = is_ready

    @invariant()
    def nothing_twice(self) -> None:
        stored = self.world.stored()
        assert len(stored) == len(set(stored))


TestJourney = Journey.TestCase
TestJourney.settings = settings(stateful_step_count=30)
