"""Pages: what people see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from klein import Field, RequestComponent, Requirer
from klein.interfaces import ISession
from twisted.web.iweb import IRequest

from watchducks.console.access import Access
from watchducks.console.answers import Answers, Refusal, no_site
from watchducks.console.asked import Asked
from watchducks.console.clocks import clock_of
from watchducks.console.forms import Forms, csrf_field, form_route
from watchducks.console.frame import Frame, told, visitor
from watchducks.console.guides import GUIDES
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.interfaces import OriginHealth, Sites
from watchducks.console.languages import Language, Languages, mark
from watchducks.console.looks import Look, Looks
from watchducks.console.owners import Owners
from watchducks.console.progress import shown_way
from watchducks.console.rates import RateLimit
from watchducks.console.registrations import LABELS, Registrations
from watchducks.console.routing import Routes, router
from watchducks.console.scans import ScanReports
from watchducks.console.sessions import Session, SignedSessions
from watchducks.console.shown_dns import ShownDns
from watchducks.console.site_page import PARAMETERS, SitePage
from watchducks.console.states import state_names
from watchducks.model.cutover import CutoverRules
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import Site, SiteState
from watchducks.stores.interfaces import StoreUnavailable

# Cohorts offered while one types; more are no help.
OFFERED_COHORTS: Final = 50

# What a note in the session is called that carries a site's token to the next page.
_NOTE: Final = "token of "


class Pages(Routes):
    """The console's pages, one method a route."""

    app = router()
    requirer = Requirer()

    def __init__(
        self,
        *,
        sites: Sites,
        access: Access,
        registrations: Registrations,
        site_page: SitePage,
        nameservers: Sequence[str],
        frame: Frame,
        languages: Languages,
        answers: Answers,
        sessions: SignedSessions,
        forms: Forms,
        owners: Owners,
        checks: RateLimit,
        origins: OriginHealth,
        scans: ScanReports,
        looks: Looks,
        now: Callable[[], float],
        rules: CutoverRules,
    ) -> None:
        super().__init__(answers)
        self._sites = sites
        self._access = access
        self._rules = rules
        self._registrations = registrations
        self._site_page = site_page
        self._nameservers = tuple(nameservers)
        self._frame = frame
        self._languages = languages
        self._sessions = sessions
        self._forms = forms
        self._owners = owners
        self._checks = checks
        self._origins = origins
        self._scans = scans
        self._looks = looks
        self._now = now

    # --- registration ---------------------------------------------------------------------------

    @requirer.prerequisite([ISession])
    async def _prepare_form(self, request: ConsoleRequest) -> None:
        await self._forms.prepare(request)

    @requirer.require(  # type: ignore[untyped-decorator]
        app.route("/register", methods=["GET"]),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
    )
    async def registration_form(self, request: ConsoleRequest, session: Session) -> bytes:
        """Show the empty form."""
        return await self._form(request, session, {}, {}, None)

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/register", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        name=Field.text(required=False, default=""),
        domain=Field.text(required=False, default=""),
        origin=Field.text(required=False, default=""),
        email=Field.text(required=False, default=""),
        cohort=Field.text(required=False, default=""),
    )
    async def register(self, request: ConsoleRequest, session: Session, **fields: str) -> bytes:
        """Register a site; show the form again, with what was typed, if something is wrong."""
        try:
            site, token = await self._registrations.register(
                fields,
                by=self._access.actor(request),
                address=self._access.address(request),
                language=self._languages.of(request).code,
            )
        except (InvalidFields, StoreUnavailable) as error:
            return await self._form(request, session, fields, *told(error))
        self._sessions.leave_note(session, _NOTE + site.name, token)
        self._owners.remember(session, site.id, token)
        return self._frame.redirect(request, f"/sites/{quote(site.name, safe='')}?registered=yes")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/register/look", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        name=Field.text(required=False, default=""),
        domain=Field.text(required=False, default=""),
        origin=Field.text(required=False, default=""),
        email=Field.text(required=False, default=""),
        cohort=Field.text(required=False, default=""),
    )
    async def look(self, request: ConsoleRequest, session: Session, **fields: str) -> bytes:
        """Show the form again, with what is found of the domain's server and DNS."""
        network = self._access.network(request) or visitor(request)
        try:
            found = await self._looks.look(
                fields, network=network, address=self._access.address(request)
            )
        except (InvalidFields, StoreUnavailable) as error:
            return await self._form(request, session, fields, *told(error))
        return await self._form(request, session, fields, {}, None, found)

    async def _form(
        self,
        request: ConsoleRequest,
        session: Session,
        values: Mapping[str, str],
        problems: Mapping[str, Problem],
        refusal: Refusal | None,
        look: Look | None = None,
    ) -> bytes:
        try:
            known = [cohort for cohort, _ in await self._sites.cohorts()][:OFFERED_COHORTS]
        except StoreUnavailable:
            known = []  # the form can be filled all the same
        language = self._languages.of(request)
        return self._page(
            request,
            "register.html",
            status=refusal.status if refusal else 200,
            secret=True,
            page="register",
            csrf=await csrf_field(session),
            labels=LABELS,
            values=values,
            problems=problems,
            summary=language.problem(refusal.problem) if refusal else "",
            known_cohorts=known,
            prospect=look.prospect if look else None,
            dns=look.dns if look else None,
        )

    @app.route("/register/check", methods=["GET"])
    async def check(self, request: ConsoleRequest) -> bytes:
        """Say whether one field's value would be accepted, for the script of the form."""
        if not self._checks.allows(visitor(request)):
            problem = Problem("too-many", mark("Too many requests; try again in a second."))
            raise Refusal(429, problem, headers={"Retry-After": "1"})
        problem_found = await self._registrations.check(
            argument(request, b"field") or "", argument(request, b"value") or ""
        )
        language = self._languages.of(request)
        if problem_found is None:
            return self._answers.json(request, {"ok": True, "message": ""})
        return self._answers.json(
            request,
            {
                "ok": False,
                "code": problem_found.code,
                "message": language.problem(problem_found),
            },
        )

    # --- a site ---------------------------------------------------------------------------------

    @app.route("/sites/<name>", methods=["GET"])
    async def site(self, request: ConsoleRequest, name: str) -> bytes:
        """Show a site's figures; after its registration, the way to the first visitor, too."""
        site = await self._access.seen(request, name)
        self._access.keep_share(request, site)
        asked = Asked.of(request, PARAMETERS)
        language = self._languages.of(request)
        shown = await self._site_page.values(site, asked, language, clock_of(request))
        token = await self._token_note(request, site)
        found = await self._sites.cutover(site.id)
        if found is None:
            raise no_site(name)  # it has left meanwhile
        owner = await self._access.owns(request, site)
        values = {
            "page": "site",
            "site": site,
            "origin": self._origins.report(site.id),
            "blocked": await self._blocked(language, site),
            "way": shown_way(found, self._rules, language),
            "nameservers": self._nameservers,
            "guides": GUIDES,
            "owner": owner,
            "present_dns": await self._found(site) if owner else None,
            "registered": argument(request, b"registered") is not None,
            "token": token,
            "state_names": state_names(language),
            **shown,
        }
        if token is not None:
            # It is told once: nothing may come between.
            return self._frame.page(request, "site.html", secret=True, **values)
        return await self._frame.long_page(request, "site.html", **values)

    async def _blocked(self, language: Language, site: Site) -> str:
        """Return why the name servers must not be changed yet; empty if they may, or while nobody
        can tell."""
        try:
            blocked = await self._scans.blocked(site, language, self._now())
        except StoreUnavailable:
            return ""
        return "" if blocked is None else blocked["message"]

    async def _found(self, site: Site) -> ShownDns | None:
        """Return what the scan of a new site's DNS found; None: nothing is known, or it is over."""
        if site.state is not SiteState.REGISTERED:
            return None
        try:
            return await self._scans.shown(site)
        except StoreUnavailable:
            return None

    async def _token_note(self, request: ConsoleRequest, site: Site) -> str | None:
        """Return the owner's token right after the registration, once."""
        if argument(request, b"registered") is None or request.method != b"GET":
            return None
        session = await self._forms.present(request)
        return self._sessions.take_note(session, _NOTE + site.name) if session else None

    # --------------------------------------------------------------------------------------------

    def _page(
        self,
        request: ConsoleRequest,
        template: str,
        *,
        status: int = 200,
        secret: bool = False,
        **values: Any,
    ) -> bytes:
        names = state_names(self._languages.of(request))
        return self._frame.page(
            request, template, status=status, secret=secret, state_names=names, **values
        )
