"""RouteTable: one look-up for all who wait, bounded memory, and answers while stores are down."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from watchducks import routes
from watchducks.background import Overloaded
from watchducks.model.changes import Changes
from watchducks.model.cutover import CutoverRules
from watchducks.model.origins import Address, Origin, parse_origin
from watchducks.model.routing import Route
from watchducks.model.sites import Site, SiteChoices, SiteState
from watchducks.model.zones import ZoneContents
from watchducks.routes import MISS_LIFE_SECONDS, UNKNOWN, RouteTable
from watchducks.stores.interfaces import StoreUnavailable
from watchducks.stores.memory import MemoryCache


def site(number: int, zone: str, *, origin: str = "203.0.113.7") -> Site:
    return Site(
        id=number,
        name=zone.split(".", maxsplit=1)[0],
        domain=f"www.{zone}",
        zone=zone,
        origin=parse_origin(origin),
        email="a@example.com",
        cohort="default",
        state=SiteState.REGISTERED,
        revision=number,
        created=0,
    )


def changes(revision: int, sites: Sequence[Site] = (), removed: Sequence[str] = ()) -> Changes:
    return Changes(revision, sites, removed, more=False)


class Source:
    """A registry whose answers come when the test says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[Deferred[Site | None]] = []

    async def site_for_host(self, host: str) -> Site | None:
        self.asked.append(host)
        answer: Deferred[Site | None] = Deferred()
        self.answers.append(answer)
        return await answer


class Setting:
    def __init__(self, *, max_hosts: int = 100) -> None:
        self.clock = Clock()
        self.cache = MemoryCache(clock=self.clock)
        self.source = Source()
        self.lineage = "a"
        self.found: list[Address] = []
        self.table = self.process(max_hosts)

    def _resolved(self, origin: Origin) -> Origin:
        return origin.at(self.found) if origin.name else origin

    def process(self, max_hosts: int = 100) -> RouteTable:
        return RouteTable(
            self.source,
            self.cache,
            clock=self.clock,
            lineage=lambda: self.lineage,
            max_hosts=max_hosts,
            resolved=self._resolved,
        )

    def look_up(self, host: str) -> Deferred[Route | None]:
        return Deferred.fromCoroutine(self.table.look_up(host))


def result_of(deferred: Deferred[Route | None]) -> Route | None:
    assert deferred.called
    results: list[Route | None] = []
    _ = deferred.addCallback(results.append)
    [result] = results
    return result


def error_of(deferred: Deferred[Route | None]) -> type[BaseException] | None:
    assert deferred.called
    failures: list[Failure] = []
    _ = deferred.addErrback(failures.append)
    [failure] = failures
    return failure.type


def test_followed_sites_are_known_by_both_hosts() -> None:
    setting = Setting()
    ducks = site(1, "ducks.example")
    setting.table.apply(changes(1, [ducks]))
    for host in ("ducks.example", "www.ducks.example"):
        assert setting.table.known(host) == Route.of(ducks)
    assert setting.table.known("mail.ducks.example") is UNKNOWN
    assert not setting.source.asked


def test_one_look_up_serves_all_who_wait() -> None:
    setting = Setting()
    first, second = setting.look_up("ducks.example"), setting.look_up("ducks.example")
    assert setting.source.asked == ["ducks.example"]
    setting.source.answers[0].callback(site(1, "ducks.example"))
    assert result_of(first) == result_of(second) == Route.of(site(1, "ducks.example"))
    assert setting.table.known("ducks.example") == Route.of(site(1, "ducks.example"))


def test_no_such_site_is_remembered_briefly() -> None:
    setting = Setting()
    waiting = setting.look_up("wrong.example")
    setting.source.answers[0].callback(None)
    assert result_of(waiting) is None
    assert setting.table.known("wrong.example") is None
    setting.clock.advance(MISS_LIFE_SECONDS)
    assert setting.table.known("wrong.example") is UNKNOWN


def test_a_registration_ends_the_memory_of_its_absence() -> None:
    setting = Setting()
    waiting = setting.look_up("ducks.example")
    setting.source.answers[0].callback(None)
    assert result_of(waiting) is None
    setting.table.apply(changes(2, [site(2, "ducks.example")]))
    assert setting.table.known("ducks.example") == Route.of(site(2, "ducks.example"))


def test_a_change_beats_a_look_up_that_began_before_it() -> None:
    setting = Setting()
    waiting = setting.look_up("ducks.example")
    old, new = site(1, "ducks.example"), site(2, "ducks.example", origin="203.0.113.8")
    setting.table.apply(changes(2, [new]))
    setting.source.answers[0].callback(old)
    assert waiting.called
    assert setting.table.known("ducks.example") == Route.of(new)


def test_removed_sites_are_forgotten() -> None:
    setting = Setting()
    setting.table.apply(changes(1, [site(1, "ducks.example")]))
    setting.table.apply(changes(2, removed=["ducks.example"]))
    assert setting.table.known("ducks.example") is UNKNOWN
    assert setting.table.known("www.ducks.example") is UNKNOWN


def test_the_hosts_of_a_site_may_become_others() -> None:
    setting = Setting()
    first = replace(site(1, "ducks.example"), contents=ZoneContents(("@", "shop", "a.b")))
    setting.table.apply(changes(1, [first]))
    for host in ("ducks.example", "shop.ducks.example", "a.b.ducks.example"):
        assert setting.table.known(host) == Route.of(first)
    assert setting.table.known("www.ducks.example") is UNKNOWN
    # A look-up that began before the change must not bring back what went.
    waiting = setting.look_up("www.ducks.example")
    second = replace(site(2, "ducks.example"), contents=ZoneContents(("www",)))
    setting.table.apply(changes(2, [second]))
    setting.source.answers[0].callback(first)
    assert waiting.called
    for host in ("ducks.example", "shop.ducks.example", "a.b.ducks.example"):
        assert setting.table.known(host) is UNKNOWN
    assert setting.table.known("www.ducks.example") == Route.of(second)
    setting.table.apply(changes(3, [site(3, "ducks.example")]))
    setting.table.apply(changes(4, [replace(first, revision=4)]))
    assert setting.table.known("www.ducks.example") is UNKNOWN
    setting.table.apply(changes(5, removed=["ducks.example"]))
    assert setting.table.known("shop.ducks.example") is UNKNOWN


def test_memory_is_bounded_and_what_is_used_stays() -> None:
    setting = Setting(max_hosts=4)
    setting.table.apply(changes(1, [site(1, "a.example"), site(2, "b.example")]))
    setting.table.known("a.example")
    setting.table.known("www.a.example")
    setting.table.apply(changes(3, [site(3, "c.example")]))
    assert setting.table.known("a.example") is not UNKNOWN
    assert setting.table.known("b.example") is UNKNOWN


def test_wrong_hosts_cannot_fill_the_memory() -> None:
    setting = Setting()
    for number in range(routes.MAX_MISSES + 10):
        waiting = setting.look_up(f"wrong{number}.example")
        setting.source.answers.pop().callback(None)
        assert result_of(waiting) is None
    assert setting.table.known("wrong0.example") is UNKNOWN
    assert setting.table.known(f"wrong{routes.MAX_MISSES}.example") is None


def test_a_visitor_who_leaves_does_not_end_the_look_up_of_others() -> None:
    setting = Setting()
    leaver, stayer = setting.look_up("ducks.example"), setting.look_up("ducks.example")
    leaver.cancel()
    assert error_of(leaver) is CancelledError
    setting.source.answers[0].callback(site(1, "ducks.example"))
    assert result_of(stayer) is not None


def test_unreachable_stores_fail_the_look_up_and_nothing_is_remembered() -> None:
    setting = Setting()
    waiting = setting.look_up("ducks.example")
    setting.source.answers[0].errback(StoreUnavailable("registry: gone"))
    assert error_of(waiting) is StoreUnavailable
    again = setting.look_up("ducks.example")
    setting.source.answers[1].callback(site(1, "ducks.example"))
    assert result_of(again) is not None


def test_look_ups_under_way_are_bounded() -> None:
    setting = Setting()
    waiting = [setting.look_up(f"h{number}.example") for number in range(routes.MAX_LOOK_UPS)]
    refused = setting.look_up("one-more.example")
    assert error_of(refused) is Overloaded
    for answer in setting.source.answers:
        answer.callback(None)
    assert all(one.called for one in waiting)


def test_processes_share_what_the_registry_said() -> None:
    setting = Setting()
    waiting = setting.look_up("ducks.example")
    setting.source.answers[0].callback(site(1, "ducks.example"))
    assert result_of(waiting) is not None
    other = setting.process()
    shared = Deferred.fromCoroutine(other.look_up("ducks.example"))
    assert result_of(shared) == Route.of(site(1, "ducks.example"))
    assert setting.source.asked == ["ducks.example"]


def test_another_registry_that_uses_the_same_cache_is_not_believed() -> None:
    setting = Setting()
    waiting = setting.look_up("ducks.example")
    setting.source.answers[0].callback(site(1, "ducks.example"))
    assert result_of(waiting) is not None
    setting.lineage = "b"
    other = Deferred.fromCoroutine(setting.process().look_up("ducks.example"))
    assert setting.source.asked == ["ducks.example", "ducks.example"]
    setting.source.answers[1].callback(site(2, "ducks.example"))
    assert result_of(other) == Route.of(site(2, "ducks.example"))


def test_choices_are_shared_too() -> None:
    setting = Setting()
    choices = SiteChoices("pinned", "ab" * 32, redirect_to_https=True, hsts_seconds=300)
    ducks = replace(site(1, "ducks.example"), choices=choices)
    waiting = setting.look_up("ducks.example")
    setting.source.answers[0].callback(ducks)
    assert result_of(waiting) is not None
    other = setting.process()
    route = result_of(Deferred.fromCoroutine(other.look_up("ducks.example")))
    assert len(setting.source.asked) == 1
    assert route is not None
    assert route.choices == choices


@pytest.mark.parametrize(
    "value", [b"", b"[1]", b'[1, "a", "a.example", "192.0.2.1", ["maybe", "", false, 0]]', b"\xff"]
)
def test_an_unreadable_shared_value_is_asked_for_again(value: bytes) -> None:
    setting = Setting()
    key = f"route{routes.CACHE_FORMAT}:a:0:ducks.example"
    done = Deferred.fromCoroutine(setting.cache.set(key, value, 60.0))
    assert done.called
    waiting = setting.look_up("ducks.example")
    setting.source.answers[0].callback(site(1, "ducks.example"))
    assert result_of(waiting) == Route.of(site(1, "ducks.example"))


def test_what_is_shared_is_not_believed_after_a_change() -> None:
    setting = Setting()
    waiting = setting.look_up("ducks.example")
    setting.source.answers[0].callback(site(1, "ducks.example"))
    assert result_of(waiting) is not None
    setting.table.apply(changes(2, removed=["ducks.example"]))
    after = setting.look_up("ducks.example")
    assert len(setting.source.asked) == 2
    setting.source.answers[1].callback(None)
    assert result_of(after) is None


def test_only_sites_that_are_somebodys_come_by_the_feed() -> None:
    setting = Setting()
    rules = CutoverRules(require_delegation=True)
    table = RouteTable(
        setting.source, setting.cache, clock=setting.clock, lineage=lambda: "a", rules=rules
    )
    owners = replace(site(1, "ducks.example"), state=SiteState.DELEGATED)
    table.apply(changes(1, [owners]))
    assert table.known("www.ducks.example") == Route.of(owners)
    # Others ask the registry, which knows whose the host is.
    squat = replace(site(2, "www.ducks.example"), state=SiteState.REGISTERED)
    table.apply(changes(2, [squat]))
    assert table.known("www.ducks.example") is UNKNOWN
    table.apply(changes(3, [replace(owners, state=SiteState.MOVED)]))
    assert table.known("ducks.example") is UNKNOWN
    table.apply(changes(4, [owners]))
    assert table.known("ducks.example") == Route.of(owners)


def test_an_origin_that_is_a_name_is_shared_as_one_and_found_by_each_process() -> None:
    setting = Setting()
    setting.found = [ipaddress.ip_address("203.0.113.1")]
    waiting = setting.look_up("ducks.example")
    setting.source.answers[0].callback(site(1, "ducks.example", origin="https://origin.test:8443"))
    route = result_of(waiting)
    assert route is not None
    assert route.origin.addresses == tuple(setting.found)
    assert setting.table.known("ducks.example") is route
    setting.found = [ipaddress.ip_address("203.0.113.2")]
    other = result_of(Deferred.fromCoroutine(setting.process().look_up("ducks.example")))
    assert other is not None
    assert len(setting.source.asked) == 1
    assert (str(other.origin), other.origin.addresses) == (str(route.origin), tuple(setting.found))
