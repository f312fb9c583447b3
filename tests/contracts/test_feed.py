"""The feed over a fake registry, and over the real one: sites arrive, and stay through outages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.contracts.stores_under_test import open_registry, thread_pool
from tests.contracts.test_registry import wanted
from tests.servers.mariadb import MariaDB
from tests.servers.redis import Redis
from tests.servers.waiting import eventually
from tests.unit.registry.examples import example_site
from watchducks.background import StartupError
from watchducks.model.changes import Changes
from watchducks.model.sites import Site
from watchducks.registry.feed import (
    PAGE_SITES,
    POLL_SECONDS,
    SAVE_SECONDS,
    SAVE_SHARE,
    RegistryHead,
    SiteFeed,
)
from watchducks.registry.testing import FakeRegistry
from watchducks.stores.cache import open_cache
from watchducks.stores.interfaces import StoreUnavailable
from watchducks.stores.memory import MemoryCache

REACTOR: Any = reactor
P = ParamSpec("P")
T = TypeVar("T")


class Follower:
    """Knows what it is told."""

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self.revision = -1

    def apply(self, changes: Changes) -> None:
        for zone in changes.removed:
            self.sites.pop(zone, None)
        self.sites.update({site.zone: site for site in changes.sites})
        self.revision = changes.revision


@asynccontextmanager
async def feeding(
    registry: RegistryHead, folder: Path, clock: Any, *followers: Follower, cache: Any = None
) -> AsyncIterator[SiteFeed]:
    async with thread_pool(reactor) as pool:
        feed = SiteFeed(
            registry, cache or MemoryCache(clock), folder / "state", pool=pool, clock=clock
        )
        for follower in followers:
            await feed.follow(follower.apply)
        await feed.start()
        try:
            yield feed
        finally:
            await feed.stop()


async def saved(folder: Path, text: str) -> None:
    async def there() -> bool:
        file = folder / "state" / "sites.json"
        return file.exists() and text in file.read_text()

    await eventually(REACTOR, there, f"{text} in the file", 10)


@pytest_twisted.ensureDeferred
async def test_changes_arrive_within_a_poll(tmp_path: Path) -> None:
    registry, follower, clock = FakeRegistry(), Follower(), Clock()
    for number in range(5):
        registry.put(example_site(f"z{number}.example", revision=number + 1))
    async with feeding(registry, tmp_path, clock, follower) as feed:
        assert follower.sites == registry.sites
        assert len(follower.sites) == 5
        registry.remove("z1.example")
        registry.put(example_site("new.example", revision=7))
        clock.advance(POLL_SECONDS)
        assert follower.sites == registry.sites
        assert feed.revision == follower.revision == 7
        late = Follower()
        await feed.follow(late.apply)
        assert late.sites == registry.sites


@pytest_twisted.ensureDeferred
async def test_a_late_follower_is_told_in_pages_and_the_latest_of_each_zone(tmp_path: Path) -> None:
    registry, clock, follower = FakeRegistry(), Clock(), Follower()
    count = 2 * PAGE_SITES + 1
    for number in range(count):
        registry.put(example_site(f"z{number}.example", revision=number + 1))
    async with feeding(registry, tmp_path, clock) as feed:
        following = Deferred.fromCoroutine(feed.follow(follower.apply))
        assert len(follower.sites) == PAGE_SITES
        # Of what was told, of what was not told yet, and what nobody knew.
        registry.remove("z0.example")
        registry.remove(f"z{count - 1}.example")
        registry.put(example_site("z1.example", revision=count + 3))
        registry.put(example_site(f"z{count - 2}.example", revision=count + 4))
        registry.put(example_site("new.example", revision=count + 5))
        feed.announce(count + 5)
        clock.pump([0, 0, 0, 0])
        await following
        assert follower.sites == registry.sites
        assert follower.revision == feed.revision == count + 5


@pytest_twisted.ensureDeferred
async def test_an_announcement_is_followed_at_once(tmp_path: Path) -> None:
    registry, clock = FakeRegistry(), Clock()
    cache = MemoryCache(clock)
    here, there = Follower(), Follower()
    async with (
        feeding(registry, tmp_path / "here", clock, here, cache=cache) as feed,
        feeding(registry, tmp_path / "there", clock, there, cache=cache),
    ):
        registry.put(example_site("a.example"))
        clock.advance(0)
        assert here.sites == {}
        feed.announce(1)
        clock.advance(0)
        assert here.sites == there.sites == registry.sites


@pytest_twisted.ensureDeferred
async def test_a_cache_that_is_away_does_not_keep_the_news_from_ourselves(tmp_path: Path) -> None:
    class AwayCache(MemoryCache):
        async def publish(self, channel: str, message: bytes) -> None:
            raise StoreUnavailable("away")

    registry, follower, clock = FakeRegistry(), Follower(), Clock()
    cache = AwayCache(clock)
    async with feeding(registry, tmp_path, clock, follower, cache=cache) as feed:
        registry.put(example_site("a.example"))
        feed.announce(1)
        clock.advance(0)
        assert set(follower.sites) == {"a.example"}


@pytest_twisted.ensureDeferred
async def test_an_outage_is_survived_and_what_is_known_stands(tmp_path: Path) -> None:
    registry, follower, clock = FakeRegistry(), Follower(), Clock()
    registry.put(example_site("a.example"))
    async with feeding(registry, tmp_path, clock, follower) as feed:
        registry.away = True
        for _ in range(3):
            clock.advance(POLL_SECONDS)
        assert (feed.reachable, set(follower.sites)) == (False, {"a.example"})
        registry.put(example_site("b.example"))
        registry.away = False
        clock.advance(POLL_SECONDS)
        assert (feed.reachable, set(follower.sites)) == (True, {"a.example", "b.example"})


@pytest_twisted.ensureDeferred
async def test_without_registry_and_last_known_sites_there_is_no_start(tmp_path: Path) -> None:
    registry = FakeRegistry()
    registry.away = True
    with pytest.raises(StartupError, match=r"^registry\.url: cannot use the registry: it is away$"):
        async with feeding(registry, tmp_path, Clock()):
            pass


@pytest_twisted.ensureDeferred
async def test_the_last_known_sites_survive_a_restart(tmp_path: Path) -> None:
    registry, clock = FakeRegistry(), Clock()
    registry.put(example_site("a.example"))
    async with feeding(registry, tmp_path, clock):
        await saved(tmp_path, "a.example")
        registry.put(example_site("b.example", revision=2))
        clock.advance(SAVE_SECONDS)
        await saved(tmp_path, "b.example")
        registry.put(example_site("c.example", revision=3))
        clock.advance(POLL_SECONDS)
        # Not saved yet: stopping saves it.
    registry.away = True
    follower = Follower()
    async with feeding(registry, tmp_path, clock, follower) as feed:
        assert not feed.reachable
        assert follower.sites == registry.sites
        registry.remove("a.example")
        registry.away = False
        clock.advance(POLL_SECONDS)
        assert set(follower.sites) == {"b.example", "c.example"}


@pytest_twisted.ensureDeferred
async def test_the_file_is_written_at_a_bounded_frequency(tmp_path: Path) -> None:
    registry, clock = FakeRegistry(), Clock()
    async with feeding(registry, tmp_path, clock):
        await saved(tmp_path, '"revision": 0')
        file = tmp_path / "state" / "sites.json"
        written = file.stat().st_ino
        for number in range(4):
            registry.put(example_site(f"z{number}.example"))
            clock.advance(POLL_SECONDS)
        assert file.stat().st_ino == written
        clock.advance(SAVE_SECONDS)
        await saved(tmp_path, "z3.example")


@pytest_twisted.ensureDeferred
async def test_writing_the_file_takes_a_small_share_of_the_time(tmp_path: Path) -> None:
    registry, clock = FakeRegistry(), Clock()

    class SlowDisk:
        written = 0

        async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            clock.rightNow += 1.0
            self.written += 1
            return function(*args, **kwargs)

    disk = SlowDisk()
    feed = SiteFeed(registry, MemoryCache(clock), tmp_path / "state", pool=disk, clock=clock)
    await feed.start()
    disk.written = 0
    for number in range(100):
        registry.put(example_site(f"z{number}.example", revision=number + 1))
        clock.advance(POLL_SECONDS)
    assert 1 <= disk.written <= 100 * SAVE_SHARE + 1
    await feed.stop()
    assert "z99.example" in (tmp_path / "state" / "sites.json").read_text()


@pytest.mark.parametrize("content", ["", "{", '{"format": 99}'])
@pytest_twisted.ensureDeferred
async def test_a_damaged_file_is_ignored(tmp_path: Path, content: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "sites.json").write_text(content)
    registry, follower = FakeRegistry(), Follower()
    registry.put(example_site("a.example"))
    async with feeding(registry, tmp_path, Clock(), follower):
        assert follower.sites == registry.sites
    # ... and replaced.
    registry.away = True
    again = Follower()
    async with feeding(registry, tmp_path, Clock(), again):
        assert again.sites == registry.sites


@pytest_twisted.ensureDeferred
async def test_a_replaced_registry_is_taken_over_whole(tmp_path: Path) -> None:
    registry, follower, clock = FakeRegistry(), Follower(), Clock()
    for zone in ("a.example", "b.example", "c.example"):
        registry.put(example_site(zone))
    async with feeding(registry, tmp_path, clock, follower):
        other = FakeRegistry("second")
        for zone in ("c.example", "d.example", "e.example", "f.example"):
            other.put(example_site(zone, revision=99))
        registry.restore(other.backup())
        # Broken off after the head and one page, then continued.
        registry.calls_left = 2
        clock.advance(POLL_SECONDS)
        assert {"a.example", "b.example"} < set(follower.sites)
        registry.calls_left, registry.away = None, False
        clock.advance(POLL_SECONDS)
        assert follower.sites == other.sites


@pytest_twisted.ensureDeferred
async def test_a_half_taken_registry_is_not_kept(tmp_path: Path) -> None:
    registry, clock = FakeRegistry(), Clock()
    registry.put(example_site("a.example"))
    async with feeding(registry, tmp_path, clock):
        other = FakeRegistry("second")
        for number in range(5):
            other.put(example_site(f"z{number}.example"))
        registry.restore(other.backup())
        registry.calls_left = 2
        clock.advance(POLL_SECONDS)
    # Stopped in the middle: the file still tells the old story, and the next start reads it whole.
    registry.calls_left, registry.away = None, False
    follower = Follower()
    async with feeding(registry, tmp_path, clock, follower):
        assert follower.sites == other.sites


@pytest_twisted.ensureDeferred
async def test_a_restored_backup_is_taken_over_whole(tmp_path: Path) -> None:
    registry, follower, clock = FakeRegistry(), Follower(), Clock()
    registry.put(example_site("a.example"))
    backup = registry.backup()
    registry.put(example_site("b.example"))
    async with feeding(registry, tmp_path, clock, follower):
        registry.restore(backup)
        clock.advance(POLL_SECONDS)
        assert set(follower.sites) == {"a.example"}


@pytest_twisted.ensureDeferred
async def test_a_follower_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    registry, follower, clock = FakeRegistry(), Follower(), Clock()

    class Broken(Follower):
        def apply(self, changes: Changes) -> None:
            raise RuntimeError

    async with feeding(registry, tmp_path, clock, Broken(), follower):
        registry.put(example_site("a.example"))
        clock.advance(POLL_SECONDS)
        assert set(follower.sites) == {"a.example"}


@pytest_twisted.ensureDeferred
async def test_a_data_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StartupError, match=r"^node\.data_dir: .*state"):
        async with feeding(FakeRegistry(), tmp_path / "state", Clock()):
            pass


@pytest.mark.parametrize("stores", ["sqlite, memory", "mariadb, redis"])
@pytest_twisted.ensureDeferred
async def test_a_site_registered_on_one_host_arrives_on_the_other(
    request: pytest.FixtureRequest, tmp_path: Path, stores: str
) -> None:
    if stores == "sqlite, memory":
        url, cache_url = f"sqlite:///{tmp_path}/registry.sqlite", "memory:"
    else:
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        redis: Redis = request.getfixturevalue("redis")
        url, cache_url = mariadb.fresh_database(), redis.url
    here, there = Follower(), Follower()
    caches = [open_cache(cache_url, reactor=reactor) for _ in range(2)]
    for cache in caches:
        await cache.start()
    async with (
        open_registry(url, reactor) as one,
        open_registry(url, reactor) as two,
        feeding(one, tmp_path / "1", reactor, here, cache=caches[0]) as feed,
        feeding(two, tmp_path / "2", reactor, there, cache=caches[1]),
    ):
        one.on_write(feed.announce)
        site, _ = await one.register(wanted("ducks"))

        async def arrived() -> bool:
            return here.sites == there.sites == {site.zone: site}

        await eventually(REACTOR, arrived, "the site", 5)
        await one.remove("ducks")

        async def gone() -> bool:
            return here.sites == there.sites == {}

        await eventually(REACTOR, gone, "the removal", 5)
    for cache in caches:
        await cache.stop()


@pytest_twisted.ensureDeferred
async def test_a_host_restarts_while_its_registry_is_away(mariadb: MariaDB, tmp_path: Path) -> None:
    url = mariadb.fresh_database()
    async with open_registry(url, reactor) as registry, feeding(registry, tmp_path, reactor):
        site, _ = await registry.register(wanted("ducks"))
    async with open_registry(url, reactor) as registry, feeding(registry, tmp_path, reactor):
        pass
    mariadb.stop()
    follower = Follower()
    async with (
        open_registry(url, reactor) as registry,
        feeding(registry, tmp_path, reactor, follower),
    ):
        assert follower.sites == {site.zone: site}
        mariadb.start()
        geese, _ = await registry.register(wanted("geese"))

        async def arrived() -> bool:
            return geese.zone in follower.sites

        await eventually(REACTOR, arrived, "the site", 15)
