"""The end of drills in the registry."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.nameserver.fakes import changed
from tests.unit.registry.examples import example_site
from watchducks.model.sites import Site
from watchducks.registry.drills import LOOK_SECONDS, DrillEnds
from watchducks.registry.registration import SiteChanges
from watchducks.registry.statements import SiteNotFound
from watchducks.stores.interfaces import StoreUnavailable

SITE = replace(example_site("ducks.example"), drill_until=300)


class Store:
    """:ivar away: it fails. :ivar ended: the names of sites whose drill was ended."""

    def __init__(self) -> None:
        self.away = False
        self.ended: list[str] = []

    async def update(self, name: str, changes: SiteChanges) -> Site:
        if self.away:
            raise StoreUnavailable("away")
        assert changes == SiteChanges(drill=False)
        self.ended.append(name)
        if name == "gone":
            raise SiteNotFound
        return SITE


def test_drills_end_once_also_after_an_outage() -> None:
    clock, store = Clock(), Store()
    ends = DrillEnds(store, clock=clock)
    gone = replace(SITE, name="gone", zone="gone.example")
    left = replace(SITE, name="left", zone="left.example")
    ends.apply(changed([SITE, gone, left]))
    ends.apply(changed(removed=["left.example"]))
    _ = Deferred.fromCoroutine(ends.start())
    clock.advance(299)
    assert not store.ended
    store.away = True
    clock.advance(LOOK_SECONDS)
    store.away = False
    clock.advance(LOOK_SECONDS)
    assert sorted(store.ended) == sorted([SITE.name, "gone"])
    clock.advance(LOOK_SECONDS)
    assert len(store.ended) == 2
    _ = Deferred.fromCoroutine(ends.stop())
