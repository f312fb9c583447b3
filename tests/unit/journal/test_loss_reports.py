"""Losses on their way into a fake log store that is away, loses acknowledgements, refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from tests.unit.journal.samples import AtOnce
from watchducks.journal.loss_reports import REPORT_SECONDS, LossReports
from watchducks.journal.losses import Loss, Losses
from watchducks.stores.interfaces import StoreUnavailable
from watchducks.stores.logs_fake import FakeLogStore


class World:
    """What lies between losses and the store."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.store = FakeLogStore()
        self.losses = Losses(directory / "lost-rows.json")
        self.reports = LossReports(
            self.losses, self.store, "edge-1", pool=AtOnce(), clock=self.clock
        )
        self.mended = 0
        self.cures = True

    async def send(self) -> None:
        await self.reports.send(self.mend)

    async def mend(self) -> None:
        self.mended += 1
        if self.cures:
            self.store.refuse.clear()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest_twisted.ensureDeferred
async def test_losses_go_to_the_store_once_a_minute(world: World) -> None:
    await world.send()
    assert world.store.rows == []
    world.losses.add({7: Loss(3, 10, 20)})
    await world.send()
    (row,) = world.store.rows
    assert row.pop("batch")
    assert row == {"time": 10, "until": 20, "site": 7, "node": "edge-1", "rows": 3}
    world.losses.add({7: Loss(1, 30, 30)})
    await world.send()
    assert len(world.store.rows) == 1
    world.clock.advance(REPORT_SECONDS)
    await world.send()
    assert [row["rows"] for row in world.store.rows] == [3, 1]


@pytest_twisted.ensureDeferred
async def test_a_batch_comes_again_under_its_name(world: World) -> None:
    world.losses.add({7: Loss(3, 10, 20)})
    world.store.available = False
    with pytest.raises(StoreUnavailable):
        await world.send()
    world.store.available = True
    world.store.lose_acknowledgements = 1
    with pytest.raises(StoreUnavailable):
        await world.send()
    world.losses.add({7: Loss(1, 30, 30)})
    await world.send()
    first, second = world.store.rows
    assert first == second, "whoever asks for the losses takes them for one"


@pytest_twisted.ensureDeferred
async def test_a_refused_batch_is_tried_with_mended_tables(world: World) -> None:
    world.losses.add({7: Loss(3, 10, 20)})
    batch = await world.losses.leaving(AtOnce())
    assert batch is not None
    world.store.refuse = {f"losses-{batch.name}"}
    await world.send()
    assert world.mended == 1
    assert len(world.store.rows) == 1
    world.cures = False
    world.clock.advance(REPORT_SECONDS)
    world.losses.add({7: Loss(1, 30, 30)})
    batch = await world.losses.leaving(AtOnce())
    assert batch is not None
    world.store.refuse = {f"losses-{batch.name}"}
    await world.send()
    assert world.mended == 2
    assert await world.losses.leaving(AtOnce()) is None, "it would stand in the way of others"
