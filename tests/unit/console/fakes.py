"""Stand-ins for what the console is built on: a registry and measurements in memory."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from watchducks.analytics.cohorts import RankedBy
from watchducks.analytics.filters import NONE, Filters
from watchducks.analytics.periods import Period
from watchducks.analytics.results import (
    Annotation,
    Dns,
    DnsNetwork,
    DnsPoint,
    FacetRow,
    Failover,
    Latency,
    LatencyPoint,
    Live,
    Lost,
    Overview,
    PathLatency,
    PathTraffic,
    RankedSite,
    Ranking,
    ReferrerTraffic,
    SiteAnnotation,
    SiteSeries,
    SiteTotals,
    Status,
    StatusCount,
    StatusPoint,
    Traffic,
    TrafficPoint,
    Visitors,
    VisitorsPoint,
)
from watchducks.model.accounts import (
    ANYBODY,
    APPLIANCE,
    Act,
    Actor,
    Entry,
    Scope,
    Token,
    Viewer,
)
from watchducks.model.blocks import Block, read_block
from watchducks.model.cutover import DRILL_SECONDS, Progress, SiteCutover, after_click, begun
from watchducks.model.hosts import HostReport
from watchducks.model.letters import LetterState
from watchducks.model.names import name_key, zone_of
from watchducks.model.origins import Origin
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.prospects import Prospect
from watchducks.model.scans import KeptScan, Scan
from watchducks.model.sites import Registration, Site, SiteState, Visibility
from watchducks.model.subjects import Subject, Subscription
from watchducks.model.verdicts import OriginReport
from watchducks.model.zones import ZoneContents
from watchducks.registry.keys import KeyStep, ZoneKeys
from watchducks.registry.registration import SiteChanges, chosen
from watchducks.registry.registry import MAX_PAGE_SITES, Conflict, RevisionChanged, SiteNotFound
from watchducks.stores.interfaces import StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")

CREATED = 1_795_000_000
# The token that is good for every site.
ADMIN = "wd_admin"


def listed(site: Site, viewer: Viewer) -> bool:
    """Return whether a site is in the lists that ``viewer`` sees."""
    return site.visibility is Visibility.PUBLIC or viewer.owns(site)


class FakeSites:
    """A registry in memory.

    :ivar entries: the audit trail. :ivar languages: what those who registered read.
    :ivar away: every call fails as if the database were down.
    :ivar broken: every call fails as no call should.
    :ivar now: POSIX seconds, for the zones' keys.
    :ivar progress: site id -> how far it is, if not at its beginning.
    :ivar rivals: how many others have registered each zone.
    :ivar hang: what a look-up of one site waits for, if anything.
    """

    def __init__(self) -> None:
        self.by_key: dict[str, Site] = {}
        self.tokens: dict[str, str] = {}
        self.entries: list[Entry] = []
        self.languages: list[str] = []
        self.now = float(CREATED)
        self.keys = ZoneKeys(lambda secret, context: context, ttl=30, now=lambda: self.now)
        self.progress: dict[int, Progress] = {}
        self.rivals = 0
        self.away = False
        self.broken = False
        self.hang: Deferred[None] | None = None

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("registry: cannot connect")
        if self.broken:
            raise RuntimeError("a secret detail")

    async def register(
        self, registration: Registration, *, by: Actor = APPLIANCE
    ) -> tuple[Site, str]:
        self._check()
        self.languages.append(registration.language)
        key = name_key(registration.name)
        zone = registration.zone or zone_of(registration.domain)
        problems = {}
        taken = "{value} is registered already."
        if key in self.by_key:
            problems["name"] = Problem("registered", taken, value=registration.name)
        if any(site.zone == zone for site in self.by_key.values()):
            problems["domain"] = Problem("registered", taken, value=registration.domain)
        if problems:
            raise Conflict(problems)
        number = len(self.tokens) + 1
        site = Site(
            id=number,
            name=registration.name,
            domain=registration.domain,
            zone=zone,
            origin=registration.origin,
            email=registration.email,
            cohort=registration.cohort,
            state=SiteState.REGISTERED,
            revision=number,
            created=CREATED,
            choices=registration.choices,
            contents=registration.contents,
        )
        self.by_key[key] = site
        self.tokens[key] = f"wd_token-{number}"
        self._keep(Act.REGISTERED, by, site)
        return site, self.tokens[key]

    def _keep(self, act: Act, by: Actor, site: Site) -> None:
        number = len(self.entries) + 1
        self.entries.append(Entry(number, int(self.now), by, act, site.id, site.name))

    async def update(self, name: str, changes: SiteChanges, *, by: Actor = APPLIANCE) -> Site:
        self._check()
        site = self.by_key.get(name_key(name))
        if site is None:
            raise SiteNotFound(name)
        changed = replace(
            site,
            origin=changes.origin or site.origin,
            email=changes.email or site.email,
            cohort=changes.cohort or site.cohort,
            revision=site.revision + 1,
            choices=chosen(site.choices, changes),
        )
        if changes.dnssec is not None:
            changed = replace(changed, signing=self.keys.switched(site, on=changes.dnssec))
        if changes.visibility is not None:
            changed = replace(changed, visibility=changes.visibility, share=f"share-{site.id}")
        if changes.drill is not None:
            changed = replace(
                changed, drill_until=int(self.now) + DRILL_SECONDS if changes.drill else 0
            )
        self.by_key[name_key(name)] = changed
        self._keep(Act.CHANGED, by, changed)
        return changed

    async def suspend(self, name: str, *, suspended: bool, by: Actor = APPLIANCE) -> Site | None:
        found = await self.site(name)
        if found is None:
            return None
        site = self.by_key[name_key(name)] = replace(found, suspended=suspended)
        self._keep(Act.SUSPENDED, by, site)
        return site

    async def step_keys(self, name: str, step: KeyStep, *, by: Actor = APPLIANCE) -> Site:
        self._check()
        site = self.by_key.get(name_key(name))
        if site is None:
            raise SiteNotFound(name)
        changed = replace(site, signing=self.keys.stepped(site, step))
        self.by_key[name_key(name)] = changed
        return changed

    async def keep_contents(
        self,
        name: str,
        contents: ZoneContents,
        revision: int | None = None,
        *,
        by: Actor = APPLIANCE,
    ) -> Site:
        self._check()
        site = self.by_key.get(name_key(name))
        if site is None:
            raise SiteNotFound(name)
        if revision is not None and site.revision != revision:
            raise RevisionChanged
        changed = replace(site, contents=contents, revision=site.revision + 1)
        self.by_key[name_key(name)] = changed
        self._keep(Act.RECORDS, by, changed)
        return changed

    async def remove(self, name: str, *, by: Actor = APPLIANCE) -> None:
        self._check()
        site = self.by_key.pop(name_key(name), None)
        if site is None:
            raise SiteNotFound(name)
        self._keep(Act.REMOVED, by, site)

    async def renew_share(self, name: str, *, by: Actor = APPLIANCE) -> Site:
        self._check()
        site = self.by_key[name_key(name)]
        changed = replace(site, share=f"{site.share}-again")
        self.by_key[name_key(name)] = changed
        self._keep(Act.SHARED, by, changed)
        return changed

    async def trail(
        self, site_id: int | None, before: int | None = None, limit: int = 100
    ) -> list[Entry]:
        self._check()
        found = [entry for entry in reversed(self.entries) if site_id in (None, entry.site_id)]
        return [entry for entry in found if before is None or entry.number < before][:limit]

    async def site(self, name: str) -> Site | None:
        self._check()
        if self.hang is not None:
            await self.hang
        return self.by_key.get(name_key(name))

    async def cutover(self, site_id: int) -> SiteCutover | None:
        self._check()
        site = next((site for site in self.by_key.values() if site.id == site_id), None)
        if site is None:
            return None
        progress = self.progress.get(site_id, begun(CREATED))
        return SiteCutover(site, progress, "watchducks=1234", self.rivals)

    async def look_soon(self, name: str) -> bool:
        self._check()
        found = await self.cutover(self.by_key[name_key(name)].id)
        after = None if found is None else after_click(found.progress, int(self.now))
        if found is None or after is None:
            return False
        self.progress[found.site.id] = replace(after, looked=int(self.now))
        return True

    async def site_for_host(self, host: str) -> Site | None:
        self._check()
        return next((site for site in self.by_key.values() if host in site.hosts), None)

    async def sites(
        self,
        cohort: str | None = None,
        after: str | None = None,
        limit: int = 100,
        *,
        viewer: Viewer = ANYBODY,
    ) -> list[Site]:
        self._check()
        keys = sorted(key for key in self.by_key if after is None or key > name_key(after))
        found = [self.by_key[key] for key in keys if listed(self.by_key[key], viewer)]
        return [site for site in found if cohort in (None, site.cohort)][
            : min(limit, MAX_PAGE_SITES)
        ]

    async def cohorts(self, *, viewer: Viewer = ANYBODY) -> list[tuple[str, int]]:
        self._check()
        names = [site.cohort for site in self.by_key.values() if listed(site, viewer)]
        return [(name, names.count(name)) for name in sorted(set(names))]

    async def authorise(self, site_name: str, token: str) -> bool:
        self._check()
        return token == ADMIN or self.tokens.get(name_key(site_name)) == token


class FakeAccounts:
    """Accounts in memory; the owner token of a site of ``sites`` is known, too.

    :ivar links: secret -> address, of the links on their way.
    :ivar sessions: secret -> address.
    :ivar admins: addresses. :ivar zones: address -> its time zone.
    :ivar made: text of a token -> it, its account and its site's id.
    """

    def __init__(self, sites: FakeSites) -> None:
        self._sites = sites
        self.links: dict[str, str] = {}
        self.sessions: dict[str, str] = {}
        self.admins: set[str] = set()
        self.zones: dict[str, str] = {}
        self.made: dict[str, tuple[Token, str, int | None]] = {}

    def signed_in(self, email: str) -> str:
        """Begin a session; returns its secret."""
        secret = f"session-{len(self.sessions)}"
        self.sessions[secret] = email
        return secret

    async def ask_link(self, typed: str, language: str) -> None:
        self._sites._check()
        known = {site.email for site in self._sites.by_key.values()} | self.admins
        for email in known:
            if email.lower() == typed.lower():
                self.links[f"link-{len(self.links)}"] = email

    async def link_of(self, secret: str) -> str | None:
        self._sites._check()
        return self.links.get(secret)

    async def sign_in(self, secret: str, network: str) -> str | None:
        self._sites._check()
        email = self.links.pop(secret, None)
        return None if email is None else self.signed_in(email)

    async def in_session(self, secret: str) -> Viewer | None:
        self._sites._check()
        email = self.sessions.get(secret)
        if email is None:
            return None
        zone = self.zones.get(email, "")
        return Viewer(
            email=email,
            admin=email in self.admins,
            write=True,
            session=True,
            name=email,
            time_zone=zone,
        )

    async def keep_time_zone(self, email: str, name: str) -> None:
        self._sites._check()
        self.zones[email] = name

    async def sign_out(self, secret: str, network: str, *, everywhere: bool = False) -> None:
        email = self.sessions.pop(secret, None)
        if everywhere:
            self.sessions = {key: who for key, who in self.sessions.items() if who != email}

    async def identify(self, token: str) -> Viewer | None:
        self._sites._check()
        if token == ADMIN:
            return Viewer(admin=True, write=True, name="admin token")
        for key, text in self._sites.tokens.items():
            if text == token and key in self._sites.by_key:
                site_id = self._sites.by_key[key].id
                return Viewer(site_id=site_id, write=True, name="owner token")
        if token not in self.made:
            return None
        found, email, limit = self.made[token]
        write = found.scope is Scope.WRITE
        return Viewer(email=email, site_id=limit, write=write, name=f"{email}, token")

    async def sites_of(self, email: str) -> list[Site]:
        self._sites._check()
        return [site for site in self._sites.by_key.values() if site.email == email]

    async def make_token(
        self, email: str, label: str, scope: Scope, site: Site | None, *, by: Actor
    ) -> tuple[Token, str]:
        number = len(self.made) + 1
        token = Token(number, label, scope, site.name if site else "", True, CREATED, 0)
        self.made[f"wd_made-{number}"] = (token, email, site.id if site else None)
        return token, f"wd_made-{number}"

    async def tokens_of(self, email: str) -> list[Token]:
        return [token for token, owner, _ in self.made.values() if owner == email]

    async def revoke_token(self, email: str, number: int, *, by: Actor) -> bool:
        found = [
            text
            for text, (token, owner, _) in self.made.items()
            if (token.number, owner) == (number, email)
        ]
        for text in found:
            del self.made[text]
        return bool(found)


SHARES: Mapping[str, Sequence[tuple[str, int]]] = {
    "path": (("/", 380), ("/ducks/<mallard>", 210), ("/about", 120), ("/search", 31)),
    "entry": (("/", 160), ("/ducks/<mallard>", 44)),
    "referrer": (("news.example", 120), ("search.example", 90), ("pond.example", 12)),
    "channel": (("direct", 300), ("search", 210), ("social", 90), ("ai", 30)),
    "utm_campaign": (("spring", 40),),
    "country": (("KR", 400), ("JP", 120), ("US", 90), ("DE", 14)),
    "browser": (("Chrome", 410), ("Safari", 180), ("Firefox", 60)),
    "system": (("Windows", 300), ("Android", 220), ("iOS", 110)),
    "device": (("desktop", 390), ("mobile", 240), ("tablet", 20)),
    "bot": (("Googlebot", 44), ("GPTBot", 20)),
    "bot_reason": (("verified-crawler", 44), ("declared-ai-crawler", 20), ("tool", 9)),
    "status": (("200", 700), ("404", 41), ("500", 3)),
}


class FakeAnalytics:
    """Measurements that follow the hours of a day, or nothing at all.

    :ivar scale: requests at the busiest hour; 0: a silent site.
    :ivar away: every call fails as if the log store were down.
    :ivar asked: the filters of each question.
    :ivar held: if not None, rankings wait here until the test lets them go on.
    :ivar were_outdated: whose figures lacked something.
    :ivar lasting: the version that all of it has; None: a new one for each who asks.
    """

    def __init__(self, scale: int = 0) -> None:
        self.scale = scale
        self.away = False
        self.is_stale = False
        self.lasting: str | None = None
        self.were_outdated = 0
        self.held: list[Deferred[None]] | None = None
        self._versions = 0
        self.outages: tuple[Failover, ...] = ()
        self.losses: tuple[Lost, ...] = ()
        self.annotated: tuple[Annotation, ...] = ()
        self.happened: tuple[SiteAnnotation, ...] = ()
        self.asked: list[Filters] = []

    def _level(self, time: int) -> float:
        if self.away:
            raise StoreUnavailable("logs: cannot connect")
        hour = time % 86400 / 3600
        return 0.55 - 0.4 * math.cos((hour - 4) / 24 * 2 * math.pi) + 0.05 * math.sin(time / 997)

    def _requests(self, period: Period) -> list[int]:
        return [round(self.scale * self._level(t) * period.bucket / 3600) for t in period.times]

    @property
    def outdated(self) -> int:
        return self.were_outdated

    @property
    def known_version(self) -> str | None:
        return self.lasting

    async def version(self) -> str:
        self._versions += 1
        return self.lasting or f"{self._versions}"

    async def traffic(self, site_id: int, period: Period, filters: Filters = NONE) -> Traffic:
        self.asked.append(filters)
        points = tuple(
            TrafficPoint(time, n, n // 50, n * 210, n * 14_300, round(n / 1.12))
            for time, n in zip(period.times, self._requests(period), strict=True)
        )
        requests = sum(point.requests for point in points)
        return Traffic(
            points,
            requests,
            sum(point.connections for point in points),
            requests * 210,
            requests * 14_300,
            round(requests / 1.12),
            0.12 if requests else None,
        )

    async def failovers(self, period: Period) -> tuple[Failover, ...]:
        return self.outages

    async def lost(self, site_id: int, period: Period) -> tuple[Lost, ...]:
        return self.losses

    async def latency(self, site_id: int, period: Period, filters: Filters = NONE) -> Latency:
        self.asked.append(filters)

        def point(time: int, count: int) -> LatencyPoint:
            if not count:
                return LatencyPoint(time, 0, *[None] * 7)
            mean = 62 + 60 * self._level(time)
            return LatencyPoint(
                time,
                count,
                mean,
                mean * 0.8,
                mean * 1.9,
                mean * 2.4,
                mean * 4,
                mean - 4.2,
                4.2,
                p50_before_ms=mean * 0.9,
            )

        points = tuple(
            point(time, n) for time, n in zip(period.times, self._requests(period), strict=True)
        )
        total = point(period.start, sum(p.count for p in points))
        if not total.count:
            return Latency(points, total, (), (), None, None)
        return Latency(
            points,
            total,
            (PathLatency("/assets/app.css", 4210, 8.4, 12.0), PathLatency("/", 9120, 41.0, 88.1)),
            (PathLatency("/search", 310, 842.0, 2210.0), PathLatency("/cart", 98, 310.0, 700.0)),
            100.0,
            -0.06,
        )

    async def status(self, site_id: int, period: Period, filters: Filters = NONE) -> Status:
        self.asked.append(filters)
        points = tuple(
            StatusPoint(time, 0, n - n // 9 - n // 30 - n // 300, n // 9, n // 30, n // 300, 0)
            for time, n in zip(period.times, self._requests(period), strict=True)
        )
        requests = sum(self._requests(period))
        errors = sum(point.client_error + point.server_error for point in points)
        return Status(
            points,
            (StatusCount(200, requests - errors), StatusCount(404, errors)) if requests else (),
            requests,
            1 - errors / requests if requests else None,
            None,
        )

    async def visitors(self, site_id: int, period: Period, filters: Filters = NONE) -> Visitors:
        self.asked.append(filters)
        counts = [round(n / 11) for n in self._requests(period)]
        return Visitors(
            tuple(VisitorsPoint(t, n, n + 2) for t, n in zip(period.times, counts, strict=True)),
            round(sum(counts) * 0.8),
            round(sum(counts) * 0.85),
            -0.06 if sum(counts) else None,
        )

    async def paths(
        self,
        site_id: int,
        period: Period,
        limit: int = 10,
        filters: Filters = NONE,
        order: str = "requests",
    ) -> tuple[PathTraffic, ...]:
        if not sum(self._requests(period)):
            return ()
        everything = (
            PathTraffic("/", 9120, 3, 91_000_000, 41.0),
            PathTraffic("/assets/app.css", 4210, 0, 12_000_000, 8.4),
            PathTraffic("/ducks/<mallard>", 2405, 1, 33_000_000, 66.2),
            PathTraffic("/search", 310, 12, 4_000_000, 842.0),
        )
        return everything[:limit]

    async def referrers(
        self, site_id: int, period: Period, limit: int = 10, filters: Filters = NONE
    ) -> tuple[ReferrerTraffic, ...]:
        return (ReferrerTraffic("news.example", 120, 80),)[:limit] if self.scale else ()

    async def dns(self, zone: str, period: Period) -> Dns:
        self._level(0)  # fails if it is away
        types = {"A": self.scale} if self.scale else {}
        points = tuple(
            DnsPoint(time, self.scale, types, {"NOERROR": self.scale}) for time in period.times
        )
        total = self.scale * len(points)
        networks = (DnsNetwork("192.0.2.0/24", total),)
        return Dns(points, total, {"A": total}, {"NOERROR": total}, networks)

    async def annotations(self, site_id: int, period: Period) -> tuple[Annotation, ...]:
        return self.annotated

    async def lately(self, site_ids: Sequence[int], period: Period) -> tuple[SiteAnnotation, ...]:
        return tuple(each for each in self.happened if each.site_id in (0, *site_ids))

    async def live(self, site_id: int) -> Live:
        self._level(0)
        return Live(300, self.scale, self.scale // 2, self.scale // 10, self.scale // 9)

    async def facet(
        self,
        site_id: int,
        period: Period,
        facet: str,
        *,
        order: str = "requests",
        limit: int = 100,
        filters: Filters = NONE,
    ) -> tuple[FacetRow, ...]:
        self.asked.append(filters)
        self._level(0)
        if not self.scale:
            return ()
        rows = [
            FacetRow(value, n, n, n // 2, n // 3, n // 90, n * 9000, 60.0 + place * 40)
            for place, (value, n) in enumerate(SHARES[facet])
        ]
        return tuple(rows[::-1] if order == "slowness" else rows)[:limit]

    async def totals(
        self, site_ids: Sequence[int], period: Period, filters: Filters = NONE
    ) -> dict[int, SiteTotals]:
        self.asked.append(filters)
        total = sum(self._requests(period))
        return {
            site: SiteTotals(
                total // site,
                total // site // 11,
                total // site * 14_300,
                1 - 0.004 * site,
                62.0 + 9 * site,
                48.0 + 7 * site,
                210.0 + 40 * site,
                520.0,
            )
            for site in site_ids
            if total
        }

    async def overview(
        self,
        site_ids: Sequence[int],
        period: Period,
        filters: Filters = NONE,
        unranked: Collection[int] = (),
    ) -> Overview:
        totals = await self.totals(site_ids, period)
        requests = sum(each.requests for each in totals.values())
        whole = SiteTotals(requests, requests // 11, requests * 14_300, 0.987, 70, 52, 240, 600)
        before = replace(whole, requests=round(requests / 1.12), p50_ms=54.0)
        if not requests:
            whole = before = SiteTotals.nothing()
        named = [site for site in totals if site not in unranked][:5]
        return Overview(
            len(site_ids),
            whole,
            before,
            0.12 if requests else None,
            await self.compare(named, period),
            (await self.ranking(named, period, "response-time")).sites,
        )

    async def ranking(self, site_ids: Sequence[int], period: Period, by: RankedBy) -> Ranking:
        if self.held is not None:
            waiting: Deferred[None] = Deferred()
            self.held.append(waiting)
            await waiting
        totals = await self.totals(site_ids, period)
        ranked = [RankedSite(n, site, totals[site]) for n, site in enumerate(totals, 1)]
        if len(ranked) > 5:
            ranked[-1] = replace(ranked[-1], rank=None)
        return Ranking(by, 100, tuple(ranked))

    async def compare(
        self, site_ids: Sequence[int], period: Period, filters: Filters = NONE
    ) -> tuple[SiteSeries, ...]:
        totals = await self.totals(site_ids, period)
        return tuple(
            SiteSeries(
                site,
                totals[site],
                tuple(
                    (time, n // site)
                    for time, n in zip(period.times, self._requests(period), strict=True)
                ),
            )
            for site in totals
        )


class FakeExport:
    """Single requests.

    :ivar pages: what a site has; an exception among them is raised, and what
        comes later waited for. :ivar asked: the filters.
    """

    def __init__(self) -> None:
        self.pages: list[list[tuple[int | float | str, ...]] | Exception | Deferred[None]] = []
        self.asked: list[tuple[int, Filters]] = []

    async def __call__(
        self, site_id: int, period: Period, filters: Filters
    ) -> AsyncIterator[list[tuple[int | float | str, ...]]]:
        self.asked.append((site_id, filters))
        for page in self.pages:
            if isinstance(page, Exception):
                raise page
            if isinstance(page, Deferred):
                await page
                continue
            yield page


class FakeAccountKeys:
    """:ivar wanted: who asked for other ones."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._last = 0.0
        self.wanted: list[Actor] = []

    async def wish_account_keys(self, *, by: Actor, every_seconds: int = 0) -> bool:
        if self.wanted and self._clock.seconds() - self._last < every_seconds:
            return False
        self._last = self._clock.seconds()
        self.wanted.append(by)
        return True


class FakeBlocks:
    """A blocklist in memory."""

    def __init__(self, sites: FakeSites) -> None:
        self._sites = sites
        self.known: list[Block] = []

    async def refusing(self, keys: Collection[str]) -> Block | None:
        return next((one for one in self.known if one.value in keys), None)

    async def blocks(self) -> list[Block]:
        return self.known[::-1]

    async def add(self, what: object, reason: object, *, by: Actor) -> Block:
        try:
            kind, value = read_block(str(what))
        except Problem as problem:
            raise InvalidFields({"what": problem}) from None
        self.known.append(Block(len(self.known) + 1, kind, value, str(reason), by.name, CREATED))
        return self.known[-1]

    async def remove(self, number: int, *, by: Actor) -> Block | None:
        found = next((one for one in self.known if one.number == number), None)
        if found is not None:
            self.known.remove(found)
        return found

    async def sites_of(self, block: Block) -> list[Site]:
        return [site for site in self._sites.by_key.values() if block.concerns(site)]

    async def suspend(self, block: Block, *, suspended: bool, by: Actor) -> list[Site]:
        found = [one for one in await self.sites_of(block) if one.suspended != suspended]
        for site in found:
            await self._sites.suspend(site.name, suspended=suspended, by=by)
        return found


class FakeHosts:
    """:ivar reports: what hosts said last; None: the registry is away."""

    def __init__(self) -> None:
        self.reports: list[HostReport] | None = []

    async def hosts(self) -> Sequence[HostReport]:
        if self.reports is None:
            raise StoreUnavailable("registry: cannot connect")
        return self.reports


class FakeLooking:
    """Looks that find what they are told to.

    :ivar asked: domain, zone and origin of each. :ivar hang: what a look waits for, if anything.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.prospect = Prospect("", (), None, Scan())
        self.hang: Deferred[None] | None = None

    async def look(self, domain: str, zone: str, origin: Origin) -> Prospect:
        self.asked.append((domain, zone, str(origin)))
        if self.hang is not None:
            await self.hang
        return replace(self.prospect, zone=zone)


class FakeLetters:
    """:ivar waiting: how many letters; None: they cannot be counted. :ivar refused: what is not
    wanted, by address."""

    def __init__(self) -> None:
        self.waiting: int | None = 0
        self.refused: dict[str, set[tuple[int, Subject]]] = {}

    async def counted(self) -> Mapping[LetterState, int]:
        if self.waiting is None:
            raise StoreUnavailable("registry: cannot connect")
        return {LetterState.WAITING: self.waiting}

    async def unwanted(self, email: str) -> frozenset[tuple[int, Subject]]:
        return frozenset(self.refused.get(email, set()))

    async def stop(self, one: Subscription) -> None:
        self.refused.setdefault(one.email, set()).add((one.site_id, one.subject))

    async def choose(self, email: str, site_id: int, not_wanted: Collection[Subject]) -> None:
        kept = {one for one in self.refused.get(email, set()) if one[0] != site_id}
        self.refused[email] = kept | {(site_id, one) for one in not_wanted}


class FakeUnsubscribing:
    """Links that say what they stop."""

    async def read(self, code: str) -> Subscription | None:
        try:
            return Subscription.unpack(bytes.fromhex(code))
        except ValueError:
            return None


class FakeScans:
    """Scans in memory.

    :ivar requested: sites that were to be scanned again. :ivar problem: what requests raise.
    """

    def __init__(self) -> None:
        self.kept: dict[int, KeptScan] = {}
        self.requested: list[tuple[int, str]] = []
        self.problem: Exception | None = None

    async def scan(self, site_id: int) -> KeptScan | None:
        return self.kept.get(site_id)

    def request(self, site_id: int, zone: str) -> None:
        if self.problem is not None:
            raise self.problem
        self.requested.append((site_id, zone))


class FakeOrigins:
    """What probes found, by site id."""

    def __init__(self) -> None:
        self.reports: dict[int, OriginReport] = {}

    def report(self, site_id: int) -> OriginReport | None:
        return self.reports.get(site_id)


class FakeReadiness:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.parts: dict[str, bool] = {"registry": True}

    def checks(self) -> Mapping[str, bool]:
        return self.parts


class FakeThreads:
    """Does at once what threads would do later."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


class FakeParents:
    """The parents of the sites' zones.

    :ivar ds: what each of them has; None: they cannot be asked.
    """

    def __init__(self) -> None:
        self.ds: list[str] | None = None

    async def ds_of(self, zone: str) -> list[str] | None:
        return self.ds
