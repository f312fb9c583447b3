"""The console as a part of the appliance: put together, listening, stopped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.task import deferLater
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.resource import IResource

from watchducks.background import StartupError, Threads, Turns
from watchducks.console.access import Access
from watchducks.console.account_pages import AccountPages
from watchducks.console.admin_page import PATHS as ADMIN_PATHS
from watchducks.console.admin_page import AdminPage
from watchducks.console.answers import Answers
from watchducks.console.api import Api
from watchducks.console.api_accounts import AccountApi
from watchducks.console.api_blocks import BlockApi
from watchducks.console.api_certificates import CertificateApi
from watchducks.console.api_cohorts import CohortApi
from watchducks.console.api_figures import FigureApi
from watchducks.console.api_routes import ApiRoutes
from watchducks.console.assets import PREFIX, Assets, Bundle
from watchducks.console.backlog import Backlog
from watchducks.console.block_pages import BlockPages
from watchducks.console.boards import PATHS as BOARD_PATHS
from watchducks.console.boards import Boards
from watchducks.console.dnssec import Dnssec
from watchducks.console.exports import ExportApi
from watchducks.console.exports import Pages as ExportPages
from watchducks.console.figures import Figures
from watchducks.console.forms import Forms
from watchducks.console.frame import Frame
from watchducks.console.http import ConsoleSite, Front
from watchducks.console.interfaces import (
    AccountKeys,
    Accounts,
    Blocks,
    Hosts,
    Letters,
    Looking,
    OriginHealth,
    Readiness,
    Scans,
    SiteFigures,
    Sites,
    Unsubscribes,
)
from watchducks.console.languages import Languages
from watchducks.console.letter_pages import LetterPages
from watchducks.console.live import LiveApi
from watchducks.console.looks import Looks
from watchducks.console.machines import PATHS as MACHINE_PATHS
from watchducks.console.machines import Machines
from watchducks.console.owned import OwnedSites
from watchducks.console.owners import Owners
from watchducks.console.pages import Pages
from watchducks.console.rates import RateLimit
from watchducks.console.ready import Ready, Shared
from watchducks.console.records_page import RecordsPage
from watchducks.console.registrations import Registrations
from watchducks.console.rendering import Templates
from watchducks.console.scans import ScanReports
from watchducks.console.service import PATHS as SERVICE_PATHS
from watchducks.console.service import Service
from watchducks.console.sessions import SignedSessions
from watchducks.console.settings_page import SettingsPage
from watchducks.console.site_page import SitePage
from watchducks.console.zones import Zones
from watchducks.exposition import Exposition
from watchducks.model.metrics import Sample
from watchducks.registry.parents import Parents
from watchducks.registry.registration import Policy
from watchducks.settings import Settings
from watchducks.sockets import Sockets
from watchducks.stores.interfaces import Cache

# Browsers open six connections each; this serves a hundred people at once and leaves the process
# most of the usual 1024 file descriptors, which the proxy on the same reactor needs.
MAX_CONNECTIONS: Final = 600
# How long stopping waits for answers under way, and then for connections to close. Both take
# milliseconds, unless a database or a visitor hangs.
DRAIN_SECONDS: Final = 3.0
_DRAIN_STEP_SECONDS: Final = 0.05
# Somebody typing makes about three checks a second; a form filled by a browser checks five at once.
CHECKS_PER_SECOND: Final = 5.0
CHECKS_BURST: Final = 20


# What an owner changes; everything else of a site is for everybody.
_RECORDS_PATH: Final = re.compile(rb"/sites/[^/]+/records(?:/.*)?")
_SETTINGS_PATH: Final = re.compile(rb"/sites/[^/]+/settings(?:/.*)?")
# Which letters one gets; and what else belongs to an account, and the history of a site.
_BLOCK_PATH: Final = re.compile(rb"/admin/blocks(?:/.*)?")
_LETTER_PATH: Final = re.compile(rb"/account/letters|/letters/.*")
_ACCOUNT_PATH: Final = re.compile(rb"/(?:sign-in|sign-out|account)(?:/.*)?|/sites/[^/]+/history")


class _Connections(WrappingFactory):
    """Knows the open connections, so that they are bounded, and closed at the end."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> ProtocolWrapper:
        if len(self.protocols) >= MAX_CONNECTIONS:
            # Twisted closes the connection; only the base class promises a protocol for each.
            return None  # type: ignore[return-value]
        return super().buildProtocol(addr)

    def transports(self) -> list[Any]:
        """Return the transports of the open connections."""
        return [protocol.transport for protocol in self.protocols if protocol.transport]


class Console:
    """The console on the endpoints of ``settings.console.http``. A Part.

    :param sites: the registry.
    :param analytics: what was measured.
    :param readiness: answers ``/readyz``.
    :param accounts: who may sign in, and who is.
    :param scans: what zones held before they were ours.
    :param origins: whether the sites' origins answer.
    :param export: the single requests of a site.
    :param cache: where proxies tell what happens at this moment.
    :param threads: for reading and printing the records of zones.
    :param hosts: what all hosts say of themselves.
    :param letters: what waits to be sent, and who wants what.
    :param blocks: who may not register.
    :param looking: looks at what somebody is about to register.
    :param account_keys: of our accounts at certificate authorities; None: we have none.
    :param unsubscribing: reads the links in letters.
    :param samples: what this host measures, for ``/metrics`` and for admins.
    :ivar bound_addresses: (host, port) of each TCP endpoint, once started.
    """

    def __init__(
        self,
        settings: Settings,
        sites: Sites,
        analytics: SiteFigures,
        readiness: Readiness,
        *,
        accounts: Accounts,
        scans: Scans,
        origins: OriginHealth,
        letters: Letters,
        hosts: Hosts,
        unsubscribing: Unsubscribes,
        blocks: Blocks,
        looking: Looking,
        threads: Threads,
        cache: Cache,
        export: ExportPages,
        reactor: Any,
        parents: Parents | None = None,
        account_keys: AccountKeys | None = None,
        samples: Callable[[], Iterable[Sample]] = tuple,
    ) -> None:
        self._reactor = reactor
        self._endpoints = settings.console.http
        languages = Languages()
        bundle = Bundle()
        templates = Templates(languages, bundle.url)
        answers = Answers(languages, templates.refusal)
        policy = Policy(settings.own_addresses, settings.security.allow_private_origins)
        registrations = Registrations(sites, blocks, policy, reactor)
        figures = Figures(analytics, clock=reactor)
        zones = Zones(sites, threads)
        reports = ScanReports(
            scans,
            settings.proxy.addresses,
            settings.nameserver.names,
            ttl=settings.nameserver.ttl,
            threads=threads,
        )
        dnssec = Dnssec(sites, registrations, parents, now=reactor.seconds)
        turns = Turns(reactor)
        frame = Frame(templates, languages, answers, reactor.seconds, turns)
        sessions = SignedSessions(reactor)
        forms, owners = Forms(sessions), Owners(sites)
        access = Access(
            sites=sites,
            accounts=accounts,
            owners=owners,
            forms=forms,
            trusted=settings.proxy.trusted_peers,
        )
        checks = RateLimit(CHECKS_PER_SECOND, CHECKS_BURST, reactor)
        pages = Pages(
            rules=settings.cutover_rules,
            sites=sites,
            access=access,
            registrations=registrations,
            site_page=SitePage(figures, analytics, Backlog(hosts, reactor), turns),
            nameservers=settings.nameserver.names,
            frame=frame,
            languages=languages,
            answers=answers,
            sessions=sessions,
            forms=forms,
            owners=owners,
            checks=checks,
            origins=origins,
            scans=reports,
            looks=Looks(registrations, looking, threads=threads, clock=reactor),
            now=reactor.seconds,
        )
        owned = OwnedSites(sites, access, owners, checks)
        records_page = RecordsPage(
            owned=owned,
            access=access,
            zones=zones,
            scans=reports,
            forms=forms,
            frame=frame,
            languages=languages,
            answers=answers,
            now=reactor.seconds,
        )
        settings_page = SettingsPage(
            owned=owned,
            sites=sites,
            access=access,
            registrations=registrations,
            dnssec=dnssec,
            forms=forms,
            frame=frame,
            languages=languages,
            answers=answers,
            now=reactor.seconds,
            rules=settings.cutover_rules,
            url=settings.console.url.rstrip("/"),
        )
        account_pages = AccountPages(
            sites=sites,
            accounts=accounts,
            access=access,
            owners=owners,
            sessions=sessions,
            forms=forms,
            frame=frame,
            languages=languages,
            answers=answers,
            clock=reactor,
        )
        account_api = AccountApi(sites=sites, accounts=accounts, access=access, answers=answers)
        api = Api(
            sites=sites,
            access=access,
            registrations=registrations,
            nameservers=settings.nameserver.names,
            answers=answers,
            now=reactor.seconds,
            dnssec=dnssec,
            zones=zones,
            scans=reports,
            rules=settings.cutover_rules,
            languages=languages,
            origins=origins,
        )
        machines = Machines(
            sites=sites,
            readiness=readiness,
            exposition=Exposition(samples),
            answers=answers,
        )
        self._live = LiveApi(access, analytics, cache, clock=reactor)
        answering = [
            api,
            FigureApi(access, figures, analytics, answers),
            CohortApi(access, sites, figures, analytics, answers),
            self._live,
            ExportApi(access, figures, export, threads),
            account_api,
            BlockApi(blocks=blocks, sites=sites, access=access, answers=answers),
            CertificateApi(keys=account_keys, access=access, answers=answers),
        ]
        self._ready = ready = Ready(answers, languages, analytics, turns, clock=reactor)
        api_routes = ApiRoutes(answering, answers, settings.console.url, ready, clock=reactor)
        # Klein's resources hold their routes' owner only weakly where it is bound: keep both.
        boards = Boards(
            access=access,
            sites=sites,
            figures=figures,
            analytics=analytics,
            frame=frame,
            languages=languages,
            answers=answers,
            turns=turns,
        )
        service = Service(
            readiness=readiness,
            figures=figures,
            analytics=analytics,
            frame=frame,
            languages=languages,
            answers=answers,
        )
        admin_page = AdminPage(
            node=settings.node,
            sites=sites,
            accounts=accounts,
            access=access,
            readiness=readiness,
            letters=letters,
            hosts=hosts,
            samples=samples,
            frame=frame,
            languages=languages,
            answers=answers,
            now=reactor.seconds,
        )
        letter_pages = LetterPages(
            letters=letters,
            unsubscribing=unsubscribing,
            accounts=accounts,
            access=access,
            forms=forms,
            frame=frame,
            answers=answers,
        )
        block_pages = BlockPages(
            blocks=blocks,
            access=access,
            forms=forms,
            frame=frame,
            languages=languages,
            answers=answers,
        )
        self._kept = (
            block_pages,
            letter_pages,
            pages,
            boards,
            records_page,
            settings_page,
            service,
            machines,
            admin_page,
        )
        self._account_pages = account_pages
        # The first that knows a path answers it.
        ways: Sequence[tuple[Callable[[bytes], object], IResource]] = (
            (re.compile(re.escape(PREFIX.encode("ascii"))).match, Assets(bundle, answers)),
            (re.compile(rb"/api/").match, api_routes),
            (MACHINE_PATHS.__contains__, machines.app.resource()),
            (_LETTER_PATH.fullmatch, letter_pages.app.resource()),
            (_ACCOUNT_PATH.fullmatch, account_pages.app.resource()),
            (_BLOCK_PATH.fullmatch, block_pages.app.resource()),
            (ADMIN_PATHS.__contains__, admin_page.app.resource()),
            (SERVICE_PATHS.__contains__, service.app.resource()),
            (BOARD_PATHS.__contains__, Shared(boards.app.resource(), ready)),
            (_RECORDS_PATH.fullmatch, records_page.app.resource()),
            (_SETTINGS_PATH.fullmatch, settings_page.app.resource()),
        )
        page_routes = Shared(pages.app.resource(), ready)

        def choose(path: bytes) -> IResource:
            return next((resource for knows, resource in ways if knows(path)), page_routes)

        self.site = ConsoleSite(
            Front(answers, choose), answers, settings.console.url, turns, reactor=reactor
        )
        self._connections = _Connections(self.site)  # type: ignore[no-untyped-call]
        self._ports: list[IListeningPort] = []

    @property
    def bound_addresses(self) -> Sequence[tuple[str, int]]:
        hosts = [port.getHost() for port in self._ports]
        return [(a.host, a.port) for a in hosts if isinstance(a, IPv4Address | IPv6Address)]

    def forget(self) -> None:
        """Call this after each change of a site: what was shown before may be shown no more."""
        self._ready.forget()

    async def start(self) -> None:
        """Listen. :raises StartupError: an endpoint cannot be bound; then none stays bound."""
        for text in self._endpoints:
            try:
                for endpoint in Sockets().streams(text, reactor=self._reactor):
                    self._ports.append(await endpoint.listen(self._connections))
            except (CannotListenError, OSError, ValueError) as error:
                await self.stop()
                reason = getattr(error, "socketError", None) or error
                raise StartupError(f'console.http = "{text}": cannot listen: {reason}') from error

    async def stop(self) -> None:
        """Accept nothing more, let answers under way finish, close what is left open."""
        self._live.stop()
        ports, self._ports = self._ports, []
        for port in ports:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped
        # A request under way may still answer; then what is left is closed, and who does not read
        # what he asked for is cut off.
        await self._wait(lambda: not self.site.busy)
        await self._account_pages.stop()
        await self._ready.stop()
        for transport in self._connections.transports():
            transport.loseConnection()
        await self._wait(lambda: not self._connections.protocols)
        for transport in self._connections.transports():
            transport.abortConnection()

    async def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = self._reactor.seconds() + DRAIN_SECONDS
        while not condition() and self._reactor.seconds() < deadline:
            await deferLater(self._reactor, _DRAIN_STEP_SECONDS)
