"""The page of those who run the service: what works on each host, what waits, any site."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watchducks import __version__
from watchducks.console.access import Access
from watchducks.console.answers import Answers, Refusal
from watchducks.console.asked import Asked
from watchducks.console.frame import Frame
from watchducks.console.http import ConsoleRequest
from watchducks.console.interfaces import Accounts, Hosts, Letters, Readiness, Sites
from watchducks.console.languages import Language, Languages, mark
from watchducks.console.parts import Part, parts_of_a_host, role_names
from watchducks.console.routing import Routes, router
from watchducks.console.states import state_names
from watchducks.console.views import Fact
from watchducks.model.accounts import EVERYBODY
from watchducks.model.hosts import HostReport, machine_load, shown
from watchducks.model.metrics import Sample
from watchducks.model.names import name_key
from watchducks.model.problems import Problem
from watchducks.model.sites import Site
from watchducks.settings import NodeSettings
from watchducks.stores.interfaces import StoreUnavailable

PATHS: Final = (b"/admin",)

# Whoever finds more types more.
MOST_FOUND: Final = 20
# The longest address that mail knows (RFC 5321), and with it the longest name of anything here.
MAX_TYPED: Final = 254
# Those that end first; the last of them are of no concern.
MOST_CERTIFICATES: Final = 20

Samples = Callable[[], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class ProxyLine:
    """What a name server holds a proxy for. :ivar since: POSIX seconds. :ivar by: the host."""

    address: str
    healthy: bool
    since: float
    by: str


@dataclass(frozen=True, slots=True)
class HostCard:
    """One host.

    :ivar silent: it has not reported for a while. :ivar at: when it reported, POSIX seconds; so is
        ``since``, of its start.
    :ivar well: it reports, and all its parts work.
    """

    name: str
    version: str
    roles: str
    workers: int
    load: str
    at: int
    since: int
    silent: bool
    well: bool
    parts: Sequence[Part]
    facts: Sequence[Fact]


class AdminPage(Routes):
    """The page of :data:`PATHS`.

    :param samples: what the parts of this host measure.
    """

    app = router()

    def __init__(
        self,
        *,
        node: NodeSettings,
        sites: Sites,
        accounts: Accounts,
        access: Access,
        readiness: Readiness,
        letters: Letters,
        hosts: Hosts,
        samples: Samples,
        frame: Frame,
        languages: Languages,
        answers: Answers,
        now: Callable[[], float],
    ) -> None:
        super().__init__(answers)
        self._node = node
        self._sites = sites
        self._accounts = accounts
        self._access = access
        self._readiness = readiness
        self._letters = letters
        self._hosts = hosts
        self._began = int(now())
        self._samples = samples
        self._frame = frame
        self._languages = languages
        self._now = now

    @app.route("/admin", methods=["GET"])
    async def admin(self, request: ConsoleRequest) -> bytes:
        """Show an admin who is signed in how this host is doing, and the sites he looks for."""
        viewer = await self._access.viewer(request)
        if not (viewer.session and viewer.admin):
            raise Refusal(403, Problem("forbidden", mark("Only an admin may see this.")))
        language = self._languages.of(request)
        typed = (Asked.of(request, ("q",)).get("q") or "").strip()[:MAX_TYPED]
        now, reports = self._now(), await self._reports()
        hosts = [_host(report, language, now) for report in reports]
        proxies = [line for report in reports for line in _proxies(report)]
        troubles = [
            *(host.name for host in hosts if not host.well),
            *(proxy.address for proxy in proxies if not proxy.healthy),
        ]
        return self._frame.page(
            request,
            "admin.html",
            secret=True,
            page="account",
            node=self._node,
            version=__version__,
            hosts=hosts,
            versions=sorted({host.version for host in hosts if not host.silent}),
            troubles=list(dict.fromkeys(troubles)),
            proxies=proxies,
            certificates=_certificates(reports),
            letters=await self._counted(),
            typed=typed,
            found=await self._found(typed) if typed else [],
            state_names=state_names(language),
        )

    async def _reports(self) -> Sequence[HostReport]:
        """Return what this host measures now, and what the others said last; without the registry,
        this host alone."""
        own = HostReport(
            self._node.name,
            int(self._now()),
            self._began,
            __version__,
            tuple(self._node.roles),
            self._node.workers,
            machine_load(),
            self._readiness.checks(),
            shown(self._samples()),
        )
        try:
            others = [each for each in await self._hosts.hosts() if each.name != own.name]
        except StoreUnavailable:
            others = []
        return [own, *others]

    async def _counted(self) -> Mapping[str, int] | None:
        """Return state -> how many letters; None: the registry does not answer."""
        try:
            return {state.value: n for state, n in (await self._letters.counted()).items()}
        except StoreUnavailable:
            return None

    async def _found(self, typed: str) -> Sequence[Site]:
        """Return the sites of this host or owner, and those whose names begin so."""
        key = name_key(typed)
        found = [await self._sites.site(typed), await self._sites.site_for_host(typed.lower())]
        found += await self._accounts.sites_of(typed)
        following = await self._sites.sites(None, typed, MOST_FOUND, viewer=EVERYBODY)
        found += [site for site in following if name_key(site.name).startswith(key)]
        return list({site.id: site for site in found if site is not None}.values())[:MOST_FOUND]


def _by_name(samples: Iterable[Sample]) -> Mapping[str, Sequence[Sample]]:
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.name, []).append(sample)
    return found


def _host(report: HostReport, language: Language, now: float) -> HostCard:
    silent = report.silent(now)
    load, cores = report.load
    return HostCard(
        report.name,
        report.version,
        role_names(language, report.roles),
        report.workers or 1,
        f"{language.number(load)} / {cores}",
        report.at,
        report.since,
        silent,
        not silent and all(report.checks.values()),
        parts_of_a_host(language, report.checks),
        _facts(_by_name(report.samples), language),
    )


def _proxies(report: HostReport) -> Sequence[ProxyLine]:
    measured = _by_name(report.samples)
    ages = {
        dict(sample.labels)["proxy"]: sample.value
        for sample in measured.get("watchducks_proxy_verdict_seconds", ())
    }
    verdicts = {
        dict(sample.labels)["proxy"]: bool(sample.value)
        for sample in measured.get("watchducks_proxy_healthy", ())
    }
    return [
        ProxyLine(proxy, healthy, report.at - ages.get(proxy, 0.0), report.name)
        for proxy, healthy in verdicts.items()
    ]


def _certificates(reports: Sequence[HostReport]) -> Sequence[tuple[str, float]]:
    """Return the certificates that end first, and when (POSIX seconds): ours, and the folders of
    those that were given as files."""
    names = {
        "watchducks_certificate_expiry_timestamp_seconds": "certificate",
        "watchducks_certificate_file_expiry_timestamp_seconds": "folder",
    }
    found = {
        (dict(sample.labels)[names[sample.name]], sample.value)
        for report in reports
        for sample in report.samples
        if sample.name in names
    }
    return sorted(found, key=lambda one: one[1])[:MOST_CERTIFICATES]


def _facts(measured: Mapping[str, Sequence[Sample]], language: Language) -> Sequence[Fact]:
    """Return what is counted of rows and certificates on this host, over all its processes."""

    def seconds(value: float) -> str:
        return f"{language.number(value)} s"

    wanted = (
        ("watchducks_requests_total", mark("Requests since the start"), language.compact, sum),
        ("watchducks_connections", mark("Connections"), language.compact, sum),
        (
            "watchducks_dns_questions_total",
            mark("DNS questions since the start"),
            language.compact,
            sum,
        ),
        ("watchducks_spool_bytes", mark("Spool on disk"), language.size, sum),
        ("watchducks_rows_recorded_total", mark("Rows recorded"), language.compact, sum),
        ("watchducks_rows_shipped_total", mark("Rows stored"), language.compact, sum),
        ("watchducks_rows_held", mark("Rows the disk does not take"), language.compact, sum),
        ("watchducks_rows_lost_total", mark("Rows lost"), language.compact, sum),
        ("watchducks_shipper_lag_seconds", mark("Oldest row waits for"), seconds, max),
        ("watchducks_segments_rejected_total", mark("Segments refused"), language.compact, sum),
        ("watchducks_certificates", mark("Certificates"), language.compact, sum),
        (
            "watchducks_certificate_failing_sites",
            mark("Sites without a certificate, after a failure"),
            language.compact,
            sum,
        ),
    )
    return [
        Fact(name, language.gettext(title), write(together(s.value for s in measured[name])))
        for name, title, write, together in wanted
        if name in measured
    ]
