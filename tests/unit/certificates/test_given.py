"""Certificates given as files: who is told of their end, and when."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.certificates.authority import Authority
from tests.unit.certificates.test_expiry import Post
from tests.unit.nameserver.fakes import site
from watchducks.certificates.expiry import DAY_SECONDS, OVERDUE_SECONDS
from watchducks.certificates.given import LOOK_SECONDS, GivenCertificates
from watchducks.model.certificates import CertificateProgress, Trouble
from watchducks.model.cutover import Progress, SiteCutover
from watchducks.model.sites import Site
from watchducks.stores.interfaces import StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")


class Sites:
    """A registry with two sites. :ivar away: every call fails."""

    def __init__(self) -> None:
        self.away = False
        self.sites = {
            host: replace(site(zone), id=number)
            for number, zone in ((1, "a.example"), (2, "b.example"))
            for host in (zone, f"www.{zone}")
        }
        self.progress: dict[int, CertificateProgress] = {}

    async def site_for_host(self, host: str) -> Site | None:
        if self.away:
            raise StoreUnavailable("away")
        return self.sites.get(host)

    async def cutover(self, site_id: int) -> SiteCutover | None:
        certificate = self.progress.get(site_id, CertificateProgress())
        one = next(each for each in self.sites.values() if each.id == site_id)
        return SiteCutover(one, Progress(certificate=certificate), "", 0)

    async def keep_certificate_progress(
        self, rules: Mapping[int, Callable[[CertificateProgress], CertificateProgress]]
    ) -> None:
        for site_id, rule in rules.items():
            self.progress[site_id] = rule(self.progress.get(site_id, CertificateProgress()))


class Now:
    """Runs what would be run in threads."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


class World:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = Clock()
        self.clock.advance(time.time())
        self.sites, self.post, self.authority = Sites(), Post(), Authority()
        self.given = GivenCertificates(
            directory,
            self.sites,
            self.post,
            ["admin@ducks.example", "other@ducks.example"],
            pool=Now(),
            clock=self.clock,
            now=self.clock.seconds,
        )

    def give(self, folder: str, *names: str, days: float) -> None:
        self.authority.write(self.directory / folder, *names, days=days)

    def start(self) -> None:
        _ = Deferred.fromCoroutine(self.given.start())

    def pass_days(self, days: float) -> None:
        self.clock.advance(days * DAY_SECONDS)
        self.clock.advance(LOOK_SECONDS)

    def trouble(self) -> Trouble:
        return self.sites.progress[1].trouble

    def told(self) -> list[tuple[str, str]]:
        """Return to whom letters went, and how long before the end."""
        return [(one.recipient, one.topic[-2:].strip(":")) for one in self.post.letters.values()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "certificates")


def test_owner_and_admins_hear_of_it_three_times(world: World) -> None:
    world.give("a", "www.a.example", days=60)
    world.give("acme-b.example-0", "b.example", days=5)  # not the sysadmin's
    world.start()
    (shown,) = world.given.samples()
    assert (shown.labels, shown.value) == ((("folder", "a"),), world.sites.progress[1].expires)
    assert world.sites.progress.keys() == {1}
    assert world.trouble() is Trouble.NONE
    world.pass_days(45)
    assert world.told() == []
    owner = world.sites.sites["a.example"].email
    for number, (days, left) in enumerate([(2, "14"), (6, "7"), (6, "1")], 1):
        world.pass_days(days)
        recipients = [owner, "admin@ducks.example", "other@ducks.example"]
        assert world.told()[-3:] == [(one, left) for one in recipients]
        assert len(world.told()) == 3 * number
        world.pass_days(0)
    assert world.trouble() is Trouble.FILE
    assert {one.facts["trouble"] for one in world.post.letters.values()} == {"file"}
    # Renewed, as any program does it.
    world.give("a", "www.a.example", days=150)
    world.pass_days(0)
    assert world.trouble() is Trouble.NONE
    assert len(world.told()) == 9
    shutil.rmtree(world.directory / "a")
    world.pass_days(0)
    assert list(world.given.samples()) == []


def test_short_ones_are_given_time_to_be_renewed(world: World) -> None:
    world.give("a", "*.a.example", days=10)  # two thirds of 30 days are over just now
    world.start()
    assert world.told() == []
    world.give("a", "*.a.example", days=10 - 2 * OVERDUE_SECONDS / DAY_SECONDS)
    world.pass_days(0)
    assert len(world.told()) == 3


def test_who_has_a_better_one_is_told_nothing(world: World) -> None:
    ours = CertificateProgress(issued=1, expires=int(time.time() + 80 * DAY_SECONDS))
    world.sites.progress[1] = ours
    world.give("a", "a.example", days=2)
    world.give("nobody", "c.example", days=2)
    world.start()
    assert world.told() == []
    assert world.sites.progress == {1: ours}


def test_why_ours_does_not_come_tells_more(world: World) -> None:
    world.sites.progress[1] = CertificateProgress(trouble=Trouble.CAA, failed=1)
    world.give("a", "a.example", days=2)
    world.start()
    assert world.trouble() is Trouble.CAA
    assert world.sites.progress[1].expires


def test_nothing_there_junk_and_a_registry_that_is_away(world: World) -> None:
    world.start()
    assert list(world.given.samples()) == []
    (world.directory / "junk").mkdir(parents=True)
    (world.directory / "junk" / "fullchain.pem").write_text("junk")
    (world.directory / "file").write_text("junk")
    world.give("a", "a.example", days=2)
    world.sites.away = True
    world.pass_days(0)
    assert len(list(world.given.samples())) == 1
    assert world.told() == []
    world.sites.away = False
    world.pass_days(0)
    assert len(world.told()) == 3
