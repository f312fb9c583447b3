"""What a proxy reports of sites on their way: certificates and first requests, once each."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.journal.samples import row
from tests.unit.registry.examples import example_site
from watchducks.model.changes import Changes
from watchducks.model.cutover import CutoverRules
from watchducks.model.rows import Row
from watchducks.model.sites import Site, SiteState
from watchducks.proxy.sightings import INTERVAL_SECONDS, MAX_REPORTS, Sightings
from watchducks.stores.interfaces import StoreUnavailable

STRICT = CutoverRules(require_delegation=True)
ACME = CutoverRules(require_delegation=True, acme=True)


class FakeSteps:
    """:ivar told: what was reported, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.away = False

    async def saw_certificate(self, site_id: int) -> Site | None:
        self._tell("certificate", site_id)
        return None

    async def saw_request(self, site_id: int) -> Site | None:
        self._tell("request", site_id)
        return None

    def _tell(self, what: str, site_id: int) -> None:
        if self.away:
            raise StoreUnavailable("away")
        self.told.append((what, site_id))


class Seeing:
    """Sightings before a sink, a registry and certificates that are lists."""

    def __init__(self, rules: CutoverRules = STRICT) -> None:
        self.clock = Clock()
        self.steps = FakeSteps()
        self.rows: list[Row] = []
        self.held: set[str] = set()
        self.sightings = Sightings(self, self.steps, self, rules=rules, clock=self.clock)
        _ = Deferred.fromCoroutine(self.sightings.start())

    def record(self, row: Row) -> None:
        self.rows.append(row)

    def covers(self, server_name: str, host: str) -> bool:
        return server_name == host and host in self.held

    def become(self, state: SiteState, number: int = 1) -> None:
        site = replace(example_site(f"a{number}.example", revision=number), state=state)
        self.sightings.apply(Changes(1, (site,), (), more=False))

    def visit(self, number: int = 1) -> None:
        self.sightings.record(row(site_id=number))

    def turn(self) -> list[tuple[str, int]]:
        self.clock.advance(INTERVAL_SECONDS)
        told, self.steps.told = self.steps.told, []
        return told


def test_the_first_request_of_a_delegated_site_is_reported_and_all_rows_pass() -> None:
    seeing = Seeing()
    seeing.become(SiteState.DELEGATED)
    assert seeing.turn() == []
    for _ in range(3):
        seeing.visit()
    assert len(seeing.rows) == 3
    assert seeing.turn() == [("request", 1)]
    seeing.visit()
    assert seeing.turn() == []
    seeing.become(SiteState.ACTIVE)
    seeing.visit()
    assert seeing.turn() == []


def test_a_request_counts_in_the_states_that_wait_for_one() -> None:
    for state in SiteState:
        seeing = Seeing(ACME)
        seeing.become(state)
        seeing.visit()
        expected = [("request", 1)] if state is SiteState.CERTIFIED else []
        assert seeing.turn() == expected, state


def test_a_certificate_is_reported_when_it_covers_every_host() -> None:
    seeing = Seeing(ACME)
    seeing.become(SiteState.REGISTERED)
    seeing.held = {"a1.example", "www.a1.example"}
    assert seeing.turn() == []
    seeing.become(SiteState.DELEGATED)
    seeing.held = {"a1.example"}
    assert seeing.turn() == []
    seeing.held = {"a1.example", "www.a1.example"}
    assert seeing.turn() == [("certificate", 1)]
    assert seeing.turn() == []


def test_while_the_registry_is_away_nothing_is_forgotten() -> None:
    seeing = Seeing()
    seeing.become(SiteState.DELEGATED)
    seeing.held = {"a1.example", "www.a1.example"}
    seeing.visit()
    seeing.steps.away = True
    assert seeing.turn() == []
    # What else changes of the site does not matter either.
    seeing.become(SiteState.DELEGATED)
    seeing.steps.away = False
    assert seeing.turn() == [("certificate", 1), ("request", 1)]


def test_a_site_that_has_left_is_forgotten() -> None:
    seeing = Seeing()
    seeing.become(SiteState.DELEGATED)
    seeing.held = {"a1.example", "www.a1.example"}
    seeing.visit()
    seeing.sightings.apply(Changes(2, (), ("a1.example",), more=False))
    assert seeing.turn() == []


def test_a_turn_reports_only_so_many() -> None:
    seeing = Seeing()
    for number in range(1, MAX_REPORTS + 11):
        seeing.become(SiteState.DELEGATED, number)
        seeing.visit(number)
    assert len(seeing.turn()) == MAX_REPORTS
    assert len(seeing.turn()) == 10
