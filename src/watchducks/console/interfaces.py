"""What the console needs of the other parts, so that its tests can give it fakes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from watchducks.analytics.cohorts import RankedBy
from watchducks.analytics.filters import NONE, Filters
from watchducks.analytics.periods import Period
from watchducks.analytics.results import (
    Annotation,
    Dns,
    FacetRow,
    Failover,
    Latency,
    Live,
    Lost,
    Overview,
    PathTraffic,
    Ranking,
    ReferrerTraffic,
    SiteAnnotation,
    SiteSeries,
    SiteTotals,
    Status,
    Traffic,
    Visitors,
)
from watchducks.model.accounts import ANYBODY, APPLIANCE, Actor, Entry, Scope, Token, Viewer
from watchducks.model.blocks import Block
from watchducks.model.cutover import SiteCutover
from watchducks.model.hosts import HostReport
from watchducks.model.letters import LetterState
from watchducks.model.origins import Origin
from watchducks.model.prospects import Prospect
from watchducks.model.scans import KeptScan
from watchducks.model.sites import Registration, Site
from watchducks.model.subjects import Subject, Subscription
from watchducks.model.verdicts import OriginReport
from watchducks.model.zones import ZoneContents
from watchducks.registry.keys import KeyStep
from watchducks.registry.registration import SiteChanges


class Sites(Protocol):
    """The registered sites: :class:`watchducks.registry.registry.Registry`, which says more.

    Every method may raise :class:`watchducks.stores.interfaces.StoreUnavailable`.
    """

    async def register(
        self, registration: Registration, *, by: Actor = APPLIANCE
    ) -> tuple[Site, str]:
        """Add a site; return it with its owner's token. :raises Conflict: it is taken."""

    async def update(self, name: str, changes: SiteChanges, *, by: Actor = APPLIANCE) -> Site:
        """Change a site. :raises SiteNotFound: there is none."""

    async def suspend(self, name: str, *, suspended: bool, by: Actor = APPLIANCE) -> Site | None:
        """Suspend a site, or let it go on; None: there is none."""

    async def step_keys(self, name: str, step: KeyStep, *, by: Actor = APPLIANCE) -> Site:
        """Take one step of the keys of its zone. :raises InvalidFields: it is not the time."""

    async def keep_contents(
        self,
        name: str,
        contents: ZoneContents,
        revision: int | None = None,
        *,
        by: Actor = APPLIANCE,
    ) -> Site:
        """Replace what a site's zone holds. :raises SiteNotFound: there is none.
        :raises RevisionChanged: the site has another revision. :raises Conflict: a host is taken.
        """

    async def remove(self, name: str, *, by: Actor = APPLIANCE) -> None:
        """Forget a site. :raises SiteNotFound: there is none."""

    async def site(self, name: str) -> Site | None:
        """Return the site of that name, or None."""

    async def cutover(self, site_id: int) -> SiteCutover | None:
        """Return how far a site's cutover has come; None: there is none of this id."""

    async def look_soon(self, name: str) -> bool:
        """Have its delegation looked at within seconds; False: it was just now."""

    async def site_for_host(self, host: str) -> Site | None:
        """Return the site that serves ``host``, or None."""

    async def sites(
        self,
        cohort: str | None = None,
        after: str | None = None,
        limit: int = 100,
        *,
        viewer: Viewer = ANYBODY,
    ) -> list[Site]:
        """Return a page of the sites that ``viewer`` may see listed, by name; ``after``: the last
        name of the page before."""

    async def cohorts(self, *, viewer: Viewer = ANYBODY) -> list[tuple[str, int]]:
        """Return the cohorts that have sites which ``viewer`` may see listed, each with how
        many."""

    async def renew_share(self, name: str, *, by: Actor = APPLIANCE) -> Site:
        """Give an unlisted site a new link. :raises SiteNotFound: there is none."""

    async def trail(
        self, site_id: int | None, before: int | None = None, limit: int = 100
    ) -> list[Entry]:
        """Return who did what to a site, or to all (None), the latest first; ``before``: the number
        of the last entry of the page before."""

    async def authorise(self, site_name: str, token: str) -> bool:
        """Return whether ``token`` may change the site."""


class Accounts(Protocol):
    """Who may sign in, and who is: :class:`watchducks.registry.accountbook.AccountBook`, which says
    more. Every method may raise StoreUnavailable.
    """

    async def ask_link(self, typed: str, language: str) -> None:
        """Send a link to the account that an address means, if there is one."""

    async def link_of(self, secret: str) -> str | None:
        """Return the address that a link's secret signs in; None: it does no more."""

    async def sign_in(self, secret: str, network: str) -> str | None:
        """Begin a session with a link's secret, once; returns the session's."""

    async def in_session(self, secret: str) -> Viewer | None:
        """Return who is signed in with a session's secret; None: nobody any more."""

    async def sign_out(self, secret: str, network: str, *, everywhere: bool = False) -> None:
        """End a session, or all of its account."""

    async def identify(self, token: str) -> Viewer | None:
        """Return who shows ``token``; None: it is nobody's."""

    async def keep_time_zone(self, email: str, name: str) -> None:
        """Keep in which time zone an account sees figures."""

    async def sites_of(self, email: str) -> list[Site]:
        """Return an owner's sites by name."""

    async def make_token(
        self, email: str, label: str, scope: Scope, site: Site | None, *, by: Actor
    ) -> tuple[Token, str]:
        """Make a token, for one site or for all; returns it with its text, shown once.
        :raises InvalidFields: he has as many as anybody may have.
        """

    async def tokens_of(self, email: str) -> list[Token]:
        """Return the tokens of an account and of its sites, the latest first."""

    async def revoke_token(self, email: str, number: int, *, by: Actor) -> bool:
        """Forget one of these tokens; False: it is none of them."""


class AccountKeys(Protocol):
    """The keys of our accounts at certificate authorities:
    :class:`watchducks.registry.vault.Vault`."""

    async def wish_account_keys(self, *, by: Actor, every_seconds: int = 0) -> bool:
        """Ask for other ones; False: somebody did less than ``every_seconds`` ago. May raise
        StoreUnavailable."""


class Blocks(Protocol):
    """Who may not register: :class:`watchducks.registry.blocklist.Blocklist`, which says more.

    Every method may raise StoreUnavailable.
    """

    async def refusing(self, keys: Collection[str]) -> Block | None:
        """Return a block with one of these values."""

    async def blocks(self) -> list[Block]:
        """Return all, the latest first."""

    async def add(self, what: object, reason: object, *, by: Actor) -> Block:
        """Add a block. :raises InvalidFields: it is none, or there already."""

    async def remove(self, number: int, *, by: Actor) -> Block | None:
        """Remove a block; None: there is no such block."""

    async def sites_of(self, block: Block) -> list[Site]:
        """Return sites that a block is about."""

    async def suspend(self, block: Block, *, suspended: bool, by: Actor) -> list[Site]:
        """Suspend these sites, or let them go on; return those that were changed."""


class Hosts(Protocol):
    """What hosts say of themselves: :class:`watchducks.registry.hosts.HostBook`."""

    async def hosts(self) -> Sequence[HostReport]:
        """Return the last report of each host, by name. :raises StoreUnavailable:"""


class Letters(Protocol):
    """What is posted: :class:`watchducks.registry.mailbag.Mailbag`."""

    async def counted(self) -> Mapping[LetterState, int]:
        """Return how many letters there are in each state. :raises StoreUnavailable:"""

    async def unwanted(self, email: str) -> frozenset[tuple[int, Subject]]:
        """Return what an address wants no letters about, by site. :raises StoreUnavailable:"""

    async def stop(self, one: Subscription) -> None:
        """Post no more letters of this kind. :raises StoreUnavailable:"""

    async def choose(self, email: str, site_id: int, not_wanted: Collection[Subject]) -> None:
        """Replace what is not wanted, of one site. :raises StoreUnavailable:"""


class Unsubscribes(Protocol):
    """The links in letters: :class:`watchducks.mail.unsubscribing.Unsubscribing`."""

    async def read(self, code: str) -> Subscription | None:
        """Return what a link stops; None: it is none of ours."""


class Scans(Protocol):
    """What zones held before they were ours: :class:`watchducks.lookups.keeper.ScanKeeper`."""

    async def scan(self, site_id: int) -> KeptScan | None:
        """Return the scan of a site; None: it is not made yet. :raises StoreUnavailable:"""

    def request(self, site_id: int, zone: str) -> None:
        """Scan a site's zone again, soon. :raises Overloaded: too many wait already."""


class Looking(Protocol):
    """Looks at what would be registered: :class:`watchducks.appliance.prospects.Prospects`."""

    async def look(self, domain: str, zone: str, origin: Origin) -> Prospect:
        """Return what is found now; takes seconds."""


class OriginHealth(Protocol):
    """Whether sites' origins answer: :class:`watchducks.health.origins.Origins`."""

    def report(self, site_id: int) -> OriginReport | None:
        """Return what is known of a site's origin; None: it was not asked yet. Cheap."""


class Readiness(Protocol):
    """Whether this process can do its work; offered by the appliance."""

    def checks(self) -> Mapping[str, bool]:
        """Return part -> whether it can work now. Cheap: asked by probers every few seconds."""


class SiteFigures(Protocol):
    """What was measured: :class:`watchducks.analytics.cached.CachedAnalytics`, which says more.

    Every method may raise StoreUnavailable or StoreRefused (:mod:`watchducks.stores.interfaces`).
    An unknown site has no figures, which is no error.
    """

    @property
    def is_stale(self) -> bool:
        """Whether the log store is away, and figures are the last ones."""

    @property
    def outdated(self) -> int:
        """How many figures were given so far that lack what has come a moment ago."""

    @property
    def known_version(self) -> str | None:
        """The version of all figures, if somebody has asked for it just now; else None."""

    async def version(self) -> str:
        """Return the version of all figures: while it stays the same, so do they, but for those
        that move on with the clock. Never raises."""

    async def traffic(self, site_id: int, period: Period, filters: Filters = NONE) -> Traffic:
        """Return requests over time."""

    async def failovers(self, period: Period) -> tuple[Failover, ...]:
        """Return when visitors were led to the origins, and so not observed."""

    async def lost(self, site_id: int, period: Period) -> tuple[Lost, ...]:
        """Return a site's requests that could not be kept."""

    async def annotations(self, site_id: int, period: Period) -> tuple[Annotation, ...]:
        """Return what happened to a site, or to all."""

    async def lately(self, site_ids: Sequence[int], period: Period) -> tuple[SiteAnnotation, ...]:
        """Return what happened last to some sites, or to all; the latest first."""

    async def latency(self, site_id: int, period: Period, filters: Filters = NONE) -> Latency:
        """Return response times over time."""

    async def status(self, site_id: int, period: Period, filters: Filters = NONE) -> Status:
        """Return answers by class over time."""

    async def visitors(self, site_id: int, period: Period, filters: Filters = NONE) -> Visitors:
        """Return different visitors over time."""

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
        """Return the values of a dimension, the first in this order first."""

    async def paths(
        self,
        site_id: int,
        period: Period,
        limit: int = 10,
        filters: Filters = NONE,
        order: str = "requests",
    ) -> tuple[PathTraffic, ...]:
        """Return paths, the first in this order first."""

    async def referrers(
        self, site_id: int, period: Period, limit: int = 10, filters: Filters = NONE
    ) -> tuple[ReferrerTraffic, ...]:
        """Return the hosts whose pages led here."""

    async def dns(self, zone: str, period: Period) -> Dns:
        """Return the DNS questions about a zone."""

    async def live(self, site_id: int) -> Live:
        """Return who was there within the last minutes."""

    async def totals(
        self, site_ids: Sequence[int], period: Period, filters: Filters = NONE
    ) -> dict[int, SiteTotals]:
        """Return site id -> its figures; silent sites are left out."""

    async def overview(
        self,
        site_ids: Sequence[int],
        period: Period,
        filters: Filters = NONE,
        unranked: Collection[int] = (),
    ) -> Overview:
        """Return the figures of sites as a whole, the busiest and the quickest of them but those
        that are ``unranked``."""

    async def ranking(self, site_ids: Sequence[int], period: Period, by: RankedBy) -> Ranking:
        """Return sites in their order."""

    async def compare(
        self, site_ids: Sequence[int], period: Period, filters: Filters = NONE
    ) -> tuple[SiteSeries, ...]:
        """Return some sites' requests over time."""
