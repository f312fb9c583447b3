"""The page of those who run the service: what works on this host, what waits, any site."""

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
from watchducks.console.interfaces import Accounts, Letters, Readiness, Sites
from watchducks.console.languages import Language, Languages, mark
from watchducks.console.routing import Routes, router
from watchducks.console.states import state_names
from watchducks.console.views import Fact
from watchducks.model.accounts import EVERYBODY
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

Samples = Callable[[], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class ProxyLine:
    """What a proxy is held for. :ivar since: POSIX seconds."""

    address: str
    healthy: bool
    since: float


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
        measured = _by_name(self._samples())
        return self._frame.page(
            request,
            "admin.html",
            secret=True,
            page="account",
            node=self._node,
            version=__version__,
            checks=self._readiness.checks(),
            proxies=_proxies(measured, self._now()),
            facts=_facts(measured, language),
            certificates=_certificates(measured),
            letters=await self._counted(),
            typed=typed,
            found=await self._found(typed) if typed else [],
            state_names=state_names(language),
        )

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


def _proxies(measured: Mapping[str, Sequence[Sample]], now: float) -> Sequence[ProxyLine]:
    ages = {
        dict(sample.labels)["proxy"]: sample.value
        for sample in measured.get("watchducks_proxy_verdict_seconds", ())
    }
    verdicts = {
        dict(sample.labels)["proxy"]: bool(sample.value)
        for sample in measured.get("watchducks_proxy_healthy", ())
    }
    return [
        ProxyLine(proxy, healthy, now - ages.get(proxy, 0.0)) for proxy, healthy in verdicts.items()
    ]


def _certificates(measured: Mapping[str, Sequence[Sample]]) -> Sequence[tuple[str, float]]:
    """Return the certificates that end first, and when (POSIX seconds): ours, and the folders of
    those that were given as files."""
    names = {
        "watchducks_certificate_expiry_timestamp_seconds": "certificate",
        "watchducks_certificate_file_expiry_timestamp_seconds": "folder",
    }
    found = [
        (dict(sample.labels)[label], sample.value)
        for name, label in names.items()
        for sample in measured.get(name, ())
    ]
    return sorted(found, key=lambda one: one[1])


def _facts(measured: Mapping[str, Sequence[Sample]], language: Language) -> Sequence[Fact]:
    """Return what is counted of rows and certificates on this host, over all its processes."""

    def seconds(value: float) -> str:
        return f"{language.number(value)} s"

    wanted = (
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
