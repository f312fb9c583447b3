"""The watch over parents: what it has seen twice is confirmed, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from tests.unit.registry.examples import example_site
from watchducks.model.changes import Changes
from watchducks.model.problems import InvalidFields
from watchducks.model.signing import Phase, Signing, ZoneKey, apex_name
from watchducks.model.sites import Site
from watchducks.registry.keys import KeyStep
from watchducks.registry.parents import LOOK_SECONDS, ParentWatch
from watchducks.stores.interfaces import StoreUnavailable

NOW = 1_800_000_000
OLD, NEW = ZoneKey(b"o" * 64, b""), ZoneKey(b"n" * 64, b"")
ZONE = "ducks.example"
REPLACING = Signing(Phase.REPLACING, 0, (OLD, NEW))
WITHDRAWING = Signing(Phase.WITHDRAWING, 0, (OLD,))
OLD_DS, NEW_DS = (str(key.ds(apex_name(ZONE))) for key in (OLD, NEW))


class World:
    """A registry and parents, as a test wants them.

    :ivar ds: zone -> what its parent has; a zone that is not there cannot be asked about.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.ds: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.confirmed: list[str] = []
        self.failure: Exception | None = None
        self.watch = ParentWatch(self, self, clock=self.clock)

    async def ds_of(self, zone: str) -> list[str] | None:
        self.asked.append(zone)
        return self.ds.get(zone)

    async def step_keys(self, name: str, step: KeyStep) -> Site:
        assert step is KeyStep.CONFIRM
        self.confirmed.append(name)
        if self.failure is not None:
            raise self.failure
        return example_site(ZONE)

    def know(self, signing: Signing, zone: str = ZONE) -> None:
        site = replace(example_site(zone), signing=signing)
        self.watch.apply(Changes(1, (site,), (), more=False))

    async def looks(self, times: int) -> None:
        """Let it look that many times since it began."""
        await self.watch.start()
        for _ in range(times - 1):
            self.clock.advance(LOOK_SECONDS)
        await self.watch.stop()


@pytest.fixture
def world() -> World:
    return World()


def run(world: World, times: int) -> None:
    with pytest.raises(StopIteration):
        world.looks(times).send(None)  # nothing in it waits


@pytest.mark.parametrize(
    ("signing", "ds"), [(REPLACING, [NEW_DS]), (WITHDRAWING, [])], ids=["rollover", "way out"]
)
def test_what_is_seen_twice_is_confirmed(world: World, signing: Signing, ds: list[str]) -> None:
    world.know(signing)
    world.ds[ZONE] = ds
    run(world, 1)
    assert world.confirmed == []
    run(world, 1)
    assert world.confirmed == ["ducks"]


@pytest.mark.parametrize(
    ("signing", "ds"),
    [
        (REPLACING, [OLD_DS]),
        (REPLACING, [OLD_DS, NEW_DS]),
        (REPLACING, []),
        (REPLACING, None),
        (WITHDRAWING, [OLD_DS]),
        (WITHDRAWING, None),
    ],
)
def test_a_parent_that_has_not_done_it_is_waited_for(
    world: World, signing: Signing, ds: list[str] | None
) -> None:
    world.know(signing)
    if ds is not None:
        world.ds[ZONE] = ds
    run(world, 4)
    assert world.asked == [ZONE] * 4
    assert world.confirmed == []


def test_what_was_seen_in_between_counts(world: World) -> None:
    world.know(WITHDRAWING)
    for ds in ([], [OLD_DS], []):
        world.ds[ZONE] = ds
        run(world, 1)
    assert world.confirmed == []
    # Nor is what was seen of one step good for another.
    world.know(Signing(Phase.WITHDRAWING, 0, (NEW,)))
    run(world, 1)
    assert world.confirmed == []


def test_nobody_is_asked_about_zones_that_wait_for_nothing(world: World) -> None:
    for number, phase in enumerate(
        (Phase.BEGINNING, Phase.SIGNED, Phase.RETIRING, Phase.ENDING, Phase.PUBLISHING)
    ):
        world.know(Signing(phase, NOW + 10_000, (OLD, NEW)), f"zone{number}.example")
    world.know(Signing(), "unsigned.example")
    run(world, 1)
    assert world.asked == []
    world.clock.advance(10_000)  # now the new key's DS is due
    run(world, 1)
    assert world.asked == ["zone4.example"]


def test_a_zone_that_went_on_or_away_is_left_alone(world: World) -> None:
    world.know(WITHDRAWING)
    world.know(Signing(Phase.ENDING, NOW + 10, (OLD,)))
    world.know(WITHDRAWING, "gone.example")
    world.watch.apply(Changes(2, (), ("gone.example",), more=False))
    run(world, 2)
    assert world.asked == []


@pytest.mark.parametrize("failure", [InvalidFields({}), StoreUnavailable("away")])
def test_what_cannot_be_confirmed_is_tried_again(world: World, failure: Exception) -> None:
    world.know(WITHDRAWING)
    world.know(WITHDRAWING, "other.example")
    world.ds = {ZONE: [], "other.example": []}
    world.failure = failure
    run(world, 2)
    assert world.confirmed == ["ducks", "other"]
    run(world, 2)
    assert world.confirmed == ["ducks", "other"] * 2
