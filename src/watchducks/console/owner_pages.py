"""The pages on which an owner changes his site: its records and its settings.

Everyone may read a zone's records, as the API has it; the forms appear for who has shown the
owner's token in this session. Each form names the revision that its page was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from klein import Field, RequestComponent, Requirer
from klein.interfaces import ISession
from twisted.web.iweb import IRequest

from watchducks.console.access import Access
from watchducks.console.answers import Answers, Refusal, no_site
from watchducks.console.dnssec import Dnssec, dnssec_card
from watchducks.console.forms import Forms, csrf_field, form_route
from watchducks.console.frame import Frame, told, visitor
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.interfaces import Sites
from watchducks.console.languages import Languages, mark
from watchducks.console.owners import Owners
from watchducks.console.progress import TOO_SOON, shown_way
from watchducks.console.rates import RateLimit
from watchducks.console.record_forms import (
    EMPTY_RECORD,
    MEANINGS,
    RECORD_FIELDS,
    by_form,
    changed,
    row,
)
from watchducks.console.registrations import Registrations
from watchducks.console.routing import Routes, router
from watchducks.console.scans import ScanReports
from watchducks.console.sessions import Session
from watchducks.console.zones import Import, Zones
from watchducks.model.cutover import CutoverRules
from watchducks.model.presentation import ACCEPTED_TYPES
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import ORIGIN_TLS, Site, Visibility
from watchducks.registry.assembly import pin_problems
from watchducks.registry.choices import CHOICES
from watchducks.registry.registration import SiteChanges
from watchducks.registry.registry import RevisionChanged
from watchducks.stores.interfaces import StoreUnavailable

SETTINGS: Final = ("origin", *CHOICES)


def _text() -> Any:
    return Field.text(required=False, default="")


class OwnerPages(Routes):
    """One method a route.

    :param url: how people reach the console.
    """

    app = router()
    requirer = Requirer()

    def __init__(
        self,
        *,
        sites: Sites,
        access: Access,
        registrations: Registrations,
        zones: Zones,
        scans: ScanReports,
        dnssec: Dnssec,
        owners: Owners,
        forms: Forms,
        frame: Frame,
        languages: Languages,
        answers: Answers,
        attempts: RateLimit,
        now: Callable[[], float],
        rules: CutoverRules,
        url: str,
    ) -> None:
        super().__init__(answers)
        self._url = url
        self._sites = sites
        self._access = access
        self._rules = rules
        self._registrations = registrations
        self._zones = zones
        self._scans = scans
        self._dnssec = dnssec
        self._owners = owners
        self._forms = forms
        self._frame = frame
        self._languages = languages
        self._attempts = attempts
        self._now = now

    @requirer.prerequisite([ISession])
    async def _prepare_form(self, request: ConsoleRequest) -> None:
        await self._forms.prepare(request)

    # --- showing the token ----------------------------------------------------------------------

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(
            app.route("/sites/<name>/<any(records, settings):page>/unlock", methods=["POST"])
        ),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        token=_text(),
    )
    async def unlock(
        self, request: ConsoleRequest, name: str, page: str, session: Session, token: str
    ) -> bytes:
        """Take the owner's token, so that the forms of his site appear."""
        if not self._attempts.allows(visitor(request)):
            problem = Problem("too-many", mark("Too many requests; try again in a second."))
            raise Refusal(429, problem, headers={"Retry-After": "1"})
        site = await self._sites.site(name)
        if site is None:
            raise no_site(name)
        if not await self._owners.unlock(session, site.id, site.name, token):
            site = await self._access.seen(request, name)
            wrong = Problem("forbidden", mark("This token is not good for this site."))
            refusal = Refusal(403, wrong)
            if page == "settings":
                return await self._settings_page(request, session, site, {}, refusal)
            return await self._records_page(request, session, site, refusal=refusal)
        return self._frame.redirect(request, _address(site, page))

    # --- records --------------------------------------------------------------------------------

    @requirer.require(  # type: ignore[untyped-decorator]
        app.route("/sites/<name>/records", methods=["GET"]),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
    )
    async def records(self, request: ConsoleRequest, name: str, session: Session) -> bytes:
        """Show the records; ``?change=3`` puts the record of that row into the form."""
        return await self._records_page(request, session, await self._access.seen(request, name))

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/records", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        revision=_text(),
        remove=_text(),
        change=_text(),
        hosts=_text(),
        save=_text(),
        **{field: _text() for field in RECORD_FIELDS},
    )
    async def change_records(
        self, request: ConsoleRequest, name: str, session: Session, **fields: str
    ) -> bytes:
        """Add, change or remove one record, or say which hosts are proxied."""
        site = await self._changeable(request, name)
        try:
            if fields["revision"] != str(site.revision):
                raise RevisionChanged
            document = await self._zones.document(site)
            wanted = changed(document, fields)
            await self._zones.replace(site, wanted, by=self._access.actor(request))
        except (InvalidFields, RevisionChanged, StoreUnavailable) as error:
            return await self._records_page(request, session, site, error=error, typed=fields)
        return self._frame.redirect(request, f"{_address(site, 'records')}?kept=yes")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/records/import", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        revision=_text(),
        zonefile=_text(),
        replace=_text(),
        confirm=_text(),
    )
    async def import_zone_file(
        self,
        request: ConsoleRequest,
        name: str,
        session: Session,
        revision: str,
        zonefile: str,
        replace: str,
        confirm: str,
    ) -> bytes:
        """Show what a zone file would change; once that is confirmed, keep it."""
        site = await self._changeable(request, name)
        typed = {"zonefile": zonefile, "replace": replace}
        try:
            found = await self._zones.importing(site, zonefile, replace=bool(replace))
            if not confirm:
                return await self._records_page(request, session, site, typed=typed, preview=found)
            if revision != str(site.revision):
                raise RevisionChanged
            await self._zones.keep(site, found.contents, by=self._access.actor(request))
        except (InvalidFields, RevisionChanged, StoreUnavailable) as error:
            return await self._records_page(request, session, site, error=error, typed=typed)
        return self._frame.redirect(request, f"{_address(site, 'records')}?kept=yes")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/records/scan", methods=["POST"])),
        request=RequestComponent(IRequest),
    )
    async def scan_again(self, request: ConsoleRequest, name: str) -> bytes:
        """Look through the present DNS again, soon."""
        site = await self._changeable(request, name)
        self._scans.request(site)
        return self._frame.redirect(request, f"{_address(site, 'records')}?looking=yes")

    async def _records_page(
        self,
        request: ConsoleRequest,
        session: Session,
        site: Site,
        *,
        refusal: Refusal | None = None,
        error: BaseException | None = None,
        typed: Mapping[str, str] | None = None,
        preview: Import | None = None,
    ) -> bytes:
        language = self._languages.of(request)
        problems: Mapping[str, Problem] = {}
        if error is not None:
            problems, refusal = told(error)
        document = await self._zones.document(site)
        records = document["records"]
        changing = typed.get("change", "") if typed else argument(request, b"change") or ""
        chosen = row(records, changing)
        values = {**EMPTY_RECORD, "zonefile": "", "replace": ""}
        if chosen is not None:
            values |= {field: str(records[chosen][key]) for field, key in RECORD_FIELDS.items()}
        values |= typed or {}
        unlocked = await self._access.may_change(request, site)
        found = await self._scans.page(site, self._now(), offers=unlocked)
        difference = await self._zones.difference_document(preview.difference) if preview else None
        return self._frame.page(
            request,
            "records.html",
            status=refusal.status if refusal else 200,
            secret=True,
            page="records",
            site=site,
            csrf=await csrf_field(session),
            unlocked=unlocked,
            found=found,
            looking=argument(request, b"looking") is not None,
            summary=language.problem(refusal.problem) if refusal else "",
            problems=by_form(problems),
            kept=argument(request, b"kept") is not None and refusal is None,
            records=records,
            hosts=values.get("hosts") or " ".join(document["proxied"]),
            types=ACCEPTED_TYPES,
            meanings={key: language.gettext(word) for key, word in MEANINGS.items()},
            values=values,
            changing=chosen,
            pins=pin_problems(site),
            difference=difference,
            notes=preview.notes if preview else (),
        )

    # --- settings -------------------------------------------------------------------------------

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
        **{field: _text() for field in SETTINGS},
    )
    async def change_settings(
        self, request: ConsoleRequest, name: str, session: Session, **fields: str
    ) -> bytes:
        """Change them."""
        site = await self._changeable(request, name)
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
        return self._frame.redirect(request, f"{_address(site, 'settings')}?kept=yes")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/settings/drill", methods=["POST"])),
        request=RequestComponent(IRequest),
        drill=_text(),
    )
    async def drill(self, request: ConsoleRequest, name: str, drill: str) -> bytes:
        """Begin or end a drill."""
        site = await self._changeable(request, name)
        changes = SiteChanges(drill=drill == "on")
        await self._sites.update(site.name, changes, by=self._access.actor(request))
        return self._frame.redirect(request, f"{_address(site, 'settings')}?kept=yes#drill")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/settings/dnssec", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        step=_text(),
    )
    async def step_dnssec(
        self, request: ConsoleRequest, name: str, session: Session, step: str
    ) -> bytes:
        """Switch the zone's DNSSEC on or off, or take a step of its keys."""
        site = await self._changeable(request, name)
        try:
            await self._dnssec.take(site, step, by=self._access.actor(request))
        except (InvalidFields, StoreUnavailable) as error:
            problems, refusal = told(error)
            return await self._settings_page(request, session, site, {}, refusal, problems=problems)
        return self._frame.redirect(request, f"{_address(site, 'settings')}?kept=yes#dnssec")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/settings/visibility", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        visibility=_text(),
    )
    async def change_visibility(
        self, request: ConsoleRequest, name: str, session: Session, visibility: str
    ) -> bytes:
        """Change who may see the site."""
        site = await self._changeable(request, name)
        wanted, by = {"visibility": visibility}, self._access.actor(request)
        try:
            await self._registrations.change(site.name, wanted, by=by)
        except (InvalidFields, StoreUnavailable) as error:
            problems, refusal = told(error)
            return await self._settings_page(request, session, site, {}, refusal, problems=problems)
        return self._frame.redirect(request, f"{_address(site, 'settings')}?kept=yes#visibility")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/settings/share", methods=["POST"])),
        request=RequestComponent(IRequest),
    )
    async def renew_share(self, request: ConsoleRequest, name: str) -> bytes:
        """Give an unlisted site a new link."""
        site = await self._changeable(request, name)
        _ = await self._sites.renew_share(site.name, by=self._access.actor(request))
        return self._frame.redirect(request, f"{_address(site, 'settings')}?kept=yes#visibility")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/settings/check", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
    )
    async def check(self, request: ConsoleRequest, name: str, session: Session) -> bytes:
        """Look within seconds whether the domain has our name servers."""
        site = await self._changeable(request, name)
        if not await self._sites.look_soon(site.name):
            return await self._settings_page(request, session, site, {}, Refusal(429, TOO_SOON))
        return self._frame.redirect(request, f"{_address(site, 'settings')}#progress")

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

    # --------------------------------------------------------------------------------------------

    def _share(self, site: Site) -> str:
        """Return the link of an unlisted site; "" if it needs none."""
        if site.visibility is not Visibility.UNLISTED:
            return ""
        return f"{self._url}/sites/{quote(site.name, safe='')}?share={site.share}"

    async def _changeable(self, request: ConsoleRequest, name: str) -> Site:
        """Return the site if who asks may change it.

        :raises Refusal: 404 without such a site, 403 if he may not.
        """
        site = await self._access.seen(request, name)
        if not await self._access.may_change(request, site):
            problem = Problem(
                "locked", mark("Sign in, or show the owner token of this site, first.")
            )
            raise Refusal(403, problem)
        return site


def _address(site: Site, page: str) -> str:
    return f"/sites/{quote(site.name, safe='')}/{page}"
