"""The page of a site's records: what its zone holds, changed by form or by zone file.

Everyone may read a zone's records, as the API has it; the forms appear for who has shown the
owner's token in this session. Each form names the revision that its page was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from klein import RequestComponent, Requirer
from klein.interfaces import ISession
from twisted.web.iweb import IRequest

from watchducks.console.access import Access
from watchducks.console.answers import Answers, Refusal
from watchducks.console.forms import Forms, csrf_field, form_route
from watchducks.console.frame import Frame, told
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.languages import Languages
from watchducks.console.owned import OwnedSites, address, text
from watchducks.console.record_forms import (
    EMPTY_RECORD,
    MEANINGS,
    RECORD_FIELDS,
    by_form,
    changed,
    row,
)
from watchducks.console.routing import Routes, router
from watchducks.console.scans import ScanReports
from watchducks.console.sessions import Session
from watchducks.console.zones import Import, Zones
from watchducks.model.presentation import ACCEPTED_TYPES
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import Site
from watchducks.registry.assembly import pin_problems
from watchducks.registry.registry import RevisionChanged
from watchducks.stores.interfaces import StoreUnavailable


class RecordsPage(Routes):
    """One method a route."""

    app = router()
    requirer = Requirer()

    def __init__(
        self,
        *,
        owned: OwnedSites,
        access: Access,
        zones: Zones,
        scans: ScanReports,
        forms: Forms,
        frame: Frame,
        languages: Languages,
        answers: Answers,
        now: Callable[[], float],
    ) -> None:
        super().__init__(answers)
        self._owned = owned
        self._access = access
        self._zones = zones
        self._scans = scans
        self._forms = forms
        self._frame = frame
        self._languages = languages
        self._now = now

    @requirer.prerequisite([ISession])
    async def _prepare_form(self, request: ConsoleRequest) -> None:
        await self._forms.prepare(request)

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/records/unlock", methods=["POST"])),
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
            return await self._records_page(request, session, site, refusal=refusal)
        return self._frame.redirect(request, address(site, "records"))

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
        revision=text(),
        remove=text(),
        change=text(),
        hosts=text(),
        save=text(),
        **{field: text() for field in RECORD_FIELDS},
    )
    async def change_records(
        self, request: ConsoleRequest, name: str, session: Session, **fields: str
    ) -> bytes:
        """Add, change or remove one record, or say which hosts are proxied."""
        site = await self._owned.changeable(request, name)
        try:
            if fields["revision"] != str(site.revision):
                raise RevisionChanged
            document = await self._zones.document(site)
            wanted = changed(document, fields)
            await self._zones.replace(site, wanted, by=self._access.actor(request))
        except (InvalidFields, RevisionChanged, StoreUnavailable) as error:
            return await self._records_page(request, session, site, error=error, typed=fields)
        return self._frame.redirect(request, f"{address(site, 'records')}?kept=yes")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/records/import", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        revision=text(),
        zonefile=text(),
        replace=text(),
        confirm=text(),
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
        site = await self._owned.changeable(request, name)
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
        return self._frame.redirect(request, f"{address(site, 'records')}?kept=yes")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sites/<name>/records/scan", methods=["POST"])),
        request=RequestComponent(IRequest),
    )
    async def scan_again(self, request: ConsoleRequest, name: str) -> bytes:
        """Look through the present DNS again, soon."""
        site = await self._owned.changeable(request, name)
        self._scans.request(site)
        return self._frame.redirect(request, f"{address(site, 'records')}?looking=yes")

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
