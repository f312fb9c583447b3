"""The page of a site's settings: how its traffic is carried, who may see it, drills, DNSSEC.

Everyone who may see the site may read them; the forms appear for who has shown the owner's token in
this session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from klein import RequestComponent, Requirer
from klein.interfaces import ISession
from twisted.web.iweb import IRequest

from watchducks.console.access import Access
from watchducks.console.answers import Answers, Refusal, no_site
from watchducks.console.dnssec import Dnssec, dnssec_card
from watchducks.console.forms import Forms, csrf_field, form_route
from watchducks.console.frame import Frame, told
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.interfaces import Sites
from watchducks.console.languages import Languages
from watchducks.console.owned import OwnedSites, address, text
from watchducks.console.progress import TOO_SOON, shown_way
from watchducks.console.registrations import Registrations
from watchducks.console.routing import Routes, router
from watchducks.console.sessions import Session
from watchducks.model.cutover import CutoverRules
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import ORIGIN_TLS, Site, Visibility
from watchducks.registry.choices import CHOICES
from watchducks.registry.registration import SiteChanges
from watchducks.stores.interfaces import StoreUnavailable

SETTINGS: Final = ("origin", *CHOICES)


class SettingsPage(Routes):
    """One method a route.

    :param url: how people reach the console.
    """

    app = router()
    requirer = Requirer()

    def __init__(
        self,
        *,
        owned: OwnedSites,
        sites: Sites,
        access: Access,
        registrations: Registrations,
        dnssec: Dnssec,
        forms: Forms,
        frame: Frame,
        languages: Languages,
        answers: Answers,
        now: Callable[[], float],
        rules: CutoverRules,
        url: str,
    ) -> None:
        super().__init__(answers)
        self._owned = owned
        self._sites = sites
        self._access = access
        self._registrations = registrations
        self._dnssec = dnssec
        self._forms = forms
        self._frame = frame
        self._languages = languages
        self._now = now
        self._rules = rules
        self._url = url

    @requirer.prerequisite([ISession])
    async def _prepare_form(self, request: ConsoleRequest) -> None:
        await self._forms.prepare(request)

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/settings/unlock", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        token=text(),
    )
    async def unlock(
        self, request: ConsoleRequest, name: str, session: Session, token: str
    ) -> bytes:
        """Take the owner's token, so that the forms appear."""
        site, refusal = await self._owned.unlock(request, session, name, token)
        if refusal is not None:
            return await self._settings_page(request, session, site, {}, refusal)
        return self._frame.redirect(request, address(site, "settings"))

    @requirer.require(  # type: ignore[untyped-decorator]
        app.route("/sites/<name>/settings", methods=["GET"]),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
    )
    async def settings(self, request: ConsoleRequest, name: str, session: Session) -> bytes:
        """Show how the site's traffic is carried."""
        return await self._settings_page(
            request, session, await self._access.seen(request, name), {}
        )

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/settings", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        **{field: text() for field in SETTINGS},
    )
    async def change_settings(
        self, request: ConsoleRequest, name: str, session: Session, **fields: str
    ) -> bytes:
        """Change them."""
        site = await self._owned.changeable(request, name)
        wanted = dict(fields)
        # The pin of a choice that is no longer "pinned" is not asked for any more.
        if wanted["origin_tls"] != "pinned" and wanted["origin_pin"] == site.choices.origin_pin:
            del wanted["origin_pin"]
        try:
            await self._registrations.change(site.name, wanted, by=self._access.actor(request))
        except (InvalidFields, StoreUnavailable) as error:
            problems, refusal = told(error)
            return await self._settings_page(
                request, session, site, fields, refusal, problems=problems
            )
        return self._frame.redirect(request, f"{address(site, 'settings')}?kept=yes")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/settings/drill", methods=["POST"])),
        request=RequestComponent(IRequest),
        drill=text(),
    )
    async def drill(self, request: ConsoleRequest, name: str, drill: str) -> bytes:
        """Begin or end a drill."""
        site = await self._owned.changeable(request, name)
        changes = SiteChanges(drill=drill == "on")
        await self._sites.update(site.name, changes, by=self._access.actor(request))
        return self._frame.redirect(request, f"{address(site, 'settings')}?kept=yes#drill")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/settings/dnssec", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        step=text(),
    )
    async def step_dnssec(
        self, request: ConsoleRequest, name: str, session: Session, step: str
    ) -> bytes:
        """Switch the zone's DNSSEC on or off, or take a step of its keys."""
        site = await self._owned.changeable(request, name)
        try:
            await self._dnssec.take(site, step, by=self._access.actor(request))
        except (InvalidFields, StoreUnavailable) as error:
            problems, refusal = told(error)
            return await self._settings_page(request, session, site, {}, refusal, problems=problems)
        return self._frame.redirect(request, f"{address(site, 'settings')}?kept=yes#dnssec")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/settings/visibility", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        visibility=text(),
    )
    async def change_visibility(
        self, request: ConsoleRequest, name: str, session: Session, visibility: str
    ) -> bytes:
        """Change who may see the site."""
        site = await self._owned.changeable(request, name)
        wanted, by = {"visibility": visibility}, self._access.actor(request)
        try:
            await self._registrations.change(site.name, wanted, by=by)
        except (InvalidFields, StoreUnavailable) as error:
            problems, refusal = told(error)
            return await self._settings_page(request, session, site, {}, refusal, problems=problems)
        return self._frame.redirect(request, f"{address(site, 'settings')}?kept=yes#visibility")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/settings/share", methods=["POST"])),
        request=RequestComponent(IRequest),
    )
    async def renew_share(self, request: ConsoleRequest, name: str) -> bytes:
        """Give an unlisted site a new link."""
        site = await self._owned.changeable(request, name)
        _ = await self._sites.renew_share(site.name, by=self._access.actor(request))
        return self._frame.redirect(request, f"{address(site, 'settings')}?kept=yes#visibility")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/settings/check", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
    )
    async def check(self, request: ConsoleRequest, name: str, session: Session) -> bytes:
        """Look within seconds whether the domain has our name servers."""
        site = await self._owned.changeable(request, name)
        if not await self._sites.look_soon(site.name):
            return await self._settings_page(request, session, site, {}, Refusal(429, TOO_SOON))
        return self._frame.redirect(request, f"{address(site, 'settings')}#progress")

    async def _settings_page(
        self,
        request: ConsoleRequest,
        session: Session,
        site: Site,
        typed: Mapping[str, str],
        refusal: Refusal | None = None,
        *,
        problems: Mapping[str, Problem] | None = None,
    ) -> bytes:
        choices = site.choices
        values: Mapping[str, Any] = {
            "origin": str(site.origin),
            "origin_tls": choices.origin_tls,
            "origin_pin": choices.origin_pin,
            "redirect_to_https": "on" if choices.redirect_to_https else "",
            "hsts_seconds": choices.hsts_seconds,
            "keep_networks": "on" if choices.keep_networks else "",
            "query_parameters": choices.query_parameters,
            "honour_gpc": "on" if choices.honour_gpc else "",
            "ranked": "on" if choices.ranked else "",
            **typed,
        }
        language = self._languages.of(request)
        found = await self._sites.cutover(site.id)
        if found is None:
            raise no_site(site.name)  # it has left meanwhile
        return self._frame.page(
            request,
            "settings.html",
            status=refusal.status if refusal else 200,
            secret=True,
            page="settings",
            site=site,
            csrf=await csrf_field(session),
            unlocked=await self._access.may_change(request, site),
            summary=language.problem(refusal.problem) if refusal else "",
            problems=problems or {},
            kept=argument(request, b"kept") is not None and refusal is None,
            values=values,
            origin_tls=ORIGIN_TLS,
            share=self._share(site),
            way=shown_way(found, self._rules, language),
            dnssec=dnssec_card(site, language, self._now()),
            drill_until=site.drill_until if site.drill_until > self._now() else 0,
        )

    def _share(self, site: Site) -> str:
        """Return the link of an unlisted site; "" if it needs none."""
        if site.visibility is not Visibility.UNLISTED:
            return ""
        return f"{self._url}/sites/{quote(site.name, safe='')}?share={site.share}"
