"""The JSON API of the sites: the same data and the same rules as the pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import quote, urlencode

from watchducks.console import api_shapes as shapes
from watchducks.console.access import Access
from watchducks.console.answers import Answers, Refusal, no_site
from watchducks.console.bodies import read_json_object
from watchducks.console.dnssec import Dnssec, dnssec_document, wanted_step
from watchducks.console.endpoints import Query, Token, endpoint
from watchducks.console.figures import rfc3339
from watchducks.console.headers import header
from watchducks.console.health import origin_document
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.interfaces import OriginHealth, Sites
from watchducks.console.languages import Languages, mark
from watchducks.console.progress import TOO_SOON, progress_document
from watchducks.console.registrations import Registrations
from watchducks.console.scans import ScanReports
from watchducks.console.zones import ImportRequest, Zones
from watchducks.model.cutover import CLICK_SECONDS, CutoverRules
from watchducks.model.names import display_domain
from watchducks.model.problems import Problem
from watchducks.model.sites import Site
from watchducks.registry.assembly import Note
from watchducks.registry.registry import RevisionChanged

# A page of a list: what fits on a screen, and the most a program may ask for at once.
DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000

PAGING: Final = (
    Query(
        "limit",
        f"How many at most; {DEFAULT_PAGE} if left out.",
        {"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
    ),
    Query("cursor", "Where to go on: `next` of the page before."),
)


class Api:
    """The routes below /api/v1, one method each.

    :param nameservers: what an owner enters at his registrar.
    :param now: gives POSIX seconds.
    :param rules: what a site's state means here.
    """

    def __init__(
        self,
        *,
        sites: Sites,
        access: Access,
        registrations: Registrations,
        nameservers: Sequence[str],
        answers: Answers,
        now: Callable[[], float],
        zones: Zones,
        scans: ScanReports,
        languages: Languages,
        dnssec: Dnssec,
        rules: CutoverRules,
        origins: OriginHealth,
    ) -> None:
        self._sites = sites
        self._access = access
        self._zones = zones
        self._scans = scans
        self._languages = languages
        self._rules = rules
        self._registrations = registrations
        self._nameservers = list(nameservers)
        self._answers = answers
        self._now = now
        self._dnssec = dnssec
        self._origins = origins

    # --- sites ----------------------------------------------------------------------------------

    @endpoint(
        "POST",
        "/api/v1/sites",
        shapes.NEW_SITE,
        status=201,
        body=shapes.REGISTRATION,
        problems=(409,),
        headers={"Location": "The new site."},
    )
    async def register(self, request: ConsoleRequest) -> bytes:
        """Register a site: 201 with its owner's token, which is shown once."""
        fields = read_json_object(request)
        limited = not (await self._access.viewer(request)).admin
        site, token = await self._registrations.register(
            fields,
            by=self._access.actor(request),
            address=self._access.address(request),
            limited=limited,
        )
        location = f"/api/v1/sites/{quote(site.name, safe='')}"
        document = {**self._owners_document(request, site), "token": token}
        return self._answers.json(
            request, document, 201, {"Location": location, "Cache-Control": "no-store"}
        )

    @endpoint(
        "GET",
        "/api/v1/sites",
        shapes.SITES,
        query=(
            Query("cohort", "Only the sites of this cohort."),
            *PAGING,
        ),
        headers={"Link": "The next page (RFC 8288), if there is one."},
    )
    async def sites(self, request: ConsoleRequest) -> bytes:
        """List sites by name, a page at a time; ``next`` is the next page's ``cursor``."""
        cohort = argument(request, b"cohort")
        limit = wanted_limit(argument(request, b"limit"))
        viewer = await self._access.viewer(request)
        found = await self._sites.sites(cohort, argument(request, b"cursor"), limit, viewer=viewer)
        following = found[-1].name if len(found) == limit else None
        document = {
            "sites": [self._document(request, site) for site in found],
            "next": following,
        }
        return self._answers.json(request, document, headers=link_to_next(request, following))

    @endpoint("GET", "/api/v1/sites/{name}", shapes.ONE_SITE, token=Token.MORE)
    async def site(self, request: ConsoleRequest, name: str) -> bytes:
        """Show one site; to its owner, who sends his token, all of it."""
        site = await self._access.seen(request, name)
        if header(request, b"authorization"):
            site = await self._access.owned(request, name)
        if (await self._access.viewer(request)).owns(site):
            document = self._owners_document(request, site)
        else:
            document = self._document(request, site)
        language = self._languages.of(request)
        found = await self._sites.cutover(site.id)
        if found is None:
            raise no_site(name)  # it has left meanwhile
        blocked = await self._scans.blocked(site, language, self._now())
        progress = progress_document(found, self._rules, language)
        document = {**document, "blocked_by": blocked, "progress": progress}
        return self._answers.json(request, document)

    @endpoint("POST", "/api/v1/sites/{name}/check", shapes.CHECKED, status=202, token=Token.NEEDED)
    async def check(self, request: ConsoleRequest, name: str) -> bytes:
        """Look within seconds whether the domain is delegated to us, and try a certificate that
        failed as soon as may be: 202, with when that is; needs a token."""
        site = await self._access.changeable(request, name)
        if not await self._sites.look_soon(name):
            raise Refusal(429, TOO_SOON, headers={"Retry-After": str(CLICK_SECONDS)})
        found = await self._sites.cutover(site.id)
        attempt = 0 if found is None else found.progress.certificate.retry
        document = {"site": site.name, "next_attempt": rfc3339(attempt) if attempt else None}
        return self._answers.json(request, document, 202)

    @endpoint("PATCH", "/api/v1/sites/{name}", shapes.SITE, body=shapes.CHANGE, token=Token.NEEDED)
    async def change(self, request: ConsoleRequest, name: str) -> bytes:
        """Change what can be changed of a site; needs its owner's token, or an admin's."""
        _ = await self._access.changeable(request, name)
        by = self._access.actor(request)
        site = await self._registrations.change(name, read_json_object(request), by=by)
        return self._answers.json(request, self._owners_document(request, site))

    @endpoint("DELETE", "/api/v1/sites/{name}", None, status=204, token=Token.NEEDED)
    async def remove(self, request: ConsoleRequest, name: str) -> bytes:
        """Forget a site; needs its owner's token, or an admin's."""
        _ = await self._access.changeable(request, name)
        await self._sites.remove(name, by=self._access.actor(request))
        request.setResponseCode(204)
        return b""

    @endpoint("GET", "/api/v1/sites/{name}/dnssec", shapes.DNSSEC)
    async def dnssec(self, request: ConsoleRequest, name: str) -> bytes:
        """Show how the site's zone is signed, and the DS for its parent."""
        return self._answers.json(
            request, dnssec_document(await self._access.seen(request, name), self._now())
        )

    @endpoint(
        "POST",
        "/api/v1/sites/{name}/dnssec",
        shapes.DNSSEC,
        body=shapes.KEY_STEP,
        token=Token.NEEDED,
    )
    async def step_keys(self, request: ConsoleRequest, name: str) -> bytes:
        """Roll the zone's keys, or confirm that the parent has the DS; needs a token."""
        site = await self._access.changeable(request, name)
        step = wanted_step(read_json_object(request))
        site = await self._dnssec.take(site, step, by=self._access.actor(request))
        return self._answers.json(request, dnssec_document(site, self._now()))

    # --- records --------------------------------------------------------------------------------

    @endpoint(
        "GET",
        "/api/v1/sites/{name}/records",
        shapes.RECORDS,
        headers={"ETag": "For If-Match of a change."},
    )
    async def records(self, request: ConsoleRequest, name: str) -> bytes:
        """Show the records of a site's zone, but for those that we make."""
        site = await self._access.seen(request, name)
        document = await self._zones.document(site)
        return self._answers.json(request, document, headers={"ETag": _entity_tag(site)})

    @endpoint(
        "PUT",
        "/api/v1/sites/{name}/records",
        shapes.REPLACED,
        body=shapes.NEW_RECORDS,
        problems=(409, 412),
        token=Token.NEEDED,
    )
    async def replace_records(self, request: ConsoleRequest, name: str) -> bytes:
        """Replace all of them; needs the site's owner's token, or an admin's. ``notes`` of the
        answer say what was left out, or is worth a look."""
        site = await self._access.changeable(request, name)
        if not _matches(header(request, b"if-match"), _entity_tag(site)):
            raise RevisionChanged
        fields = read_json_object(request)
        site, assembled = await self._zones.replace(site, fields, by=self._access.actor(request))
        document = {
            **await self._zones.document(site),
            "notes": self._notes(request, assembled.notes),
        }
        return self._answers.json(request, document, headers={"ETag": _entity_tag(site)})

    @endpoint(
        "POST",
        "/api/v1/sites/{name}/records/import",
        shapes.IMPORTED,
        body=shapes.IMPORT,
        problems=(409, 412),
        token=Token.NEEDED,
    )
    async def import_records(self, request: ConsoleRequest, name: str) -> bytes:
        """Import a zone file (``zonefile``): its records replace those of the same name and type,
        or all (``replace``); with ``dry_run`` the answer only says what would change."""
        site = await self._access.changeable(request, name)
        if not _matches(header(request, b"if-match"), _entity_tag(site)):
            raise RevisionChanged
        wanted = ImportRequest.read(read_json_object(request))
        found = await self._zones.importing(site, wanted.zonefile, replace=wanted.replace)
        if not wanted.dry_run:
            site = await self._zones.keep(site, found.contents, by=self._access.actor(request))
        document = {
            "site": site.name,
            "zone": site.zone,
            **await self._zones.difference_document(found.difference),
            "notes": self._notes(request, found.notes),
            "kept": not wanted.dry_run,
            "revision": site.revision,
        }
        return self._answers.json(request, document, headers={"ETag": _entity_tag(site)})

    def _notes(self, request: ConsoleRequest, notes: Sequence[Note]) -> list[dict[str, str]]:
        language = self._languages.of(request)
        return [
            {
                "record": note.place,
                "code": note.problem.code,
                "message": language.problem(note.problem),
            }
            for note in notes
        ]

    @endpoint("GET", "/api/v1/sites/{name}/records/offers", shapes.OFFERS, token=Token.NEEDED)
    async def offers(self, request: ConsoleRequest, name: str) -> bytes:
        """Show the owner records that visitors ask for and that only his old name servers have."""
        site = await self._access.owned(request, name)
        return self._answers.json(request, await self._scans.offers(site))

    # --- scans ----------------------------------------------------------------------------------

    @endpoint("GET", "/api/v1/sites/{name}/scan", shapes.SCAN, token=Token.NEEDED)
    async def scan(self, request: ConsoleRequest, name: str) -> bytes:
        """Show the owner what the zone held before it was ours, and what would change."""
        site, language = await self._access.owned(request, name), self._languages.of(request)
        document = await self._scans.document(site, language, self._now())
        return self._answers.json(request, document)

    @endpoint("POST", "/api/v1/sites/{name}/scan", shapes.ACCEPTED, status=202, token=Token.NEEDED)
    async def scan_again(self, request: ConsoleRequest, name: str) -> bytes:
        """Look through the present DNS again, soon: 202; needs a token."""
        site = await self._access.changeable(request, name)
        self._scans.request(site)
        return self._answers.json(request, {"site": site.name, "zone": site.zone}, 202)

    @endpoint("GET", "/api/v1/cohorts", shapes.COHORTS)
    async def cohorts(self, request: ConsoleRequest) -> bytes:
        """List the cohorts, each with how many sites it has."""
        found = await self._sites.cohorts(viewer=await self._access.viewer(request))
        return self._answers.json(
            request, {"cohorts": [{"name": name, "sites": count} for name, count in found]}
        )

    # --------------------------------------------------------------------------------------------

    def _document(self, request: ConsoleRequest, site: Site) -> Mapping[str, Any]:
        """Return what everyone may know of a site: all but the owner's address.

        The origin is no secret: it is what DNS answers whenever the proxy fails. Nor are the
        choices: every visitor sees the redirect, and a pin is the digest of a public key.
        """
        return {
            "name": site.name,
            "domain": site.domain,
            "display_domain": display_domain(site.domain),
            "zone": site.zone,
            "hosts": list(site.hosts),
            "origin": str(site.origin),
            "cohort": site.cohort,
            "state": site.state.value,
            "created": rfc3339(site.created),
            **asdict(site.choices),
            "dnssec": site.signing.wanted,
            "visibility": site.visibility.value,
            "drill_until": rfc3339(site.drill_until) if site.drill_until else None,
            "suspended": site.suspended,
            "nameservers": self._nameservers,
            "origin_health": origin_document(
                self._origins.report(site.id), self._languages.of(request)
            ),
        }

    def _owners_document(self, request: ConsoleRequest, site: Site) -> Mapping[str, Any]:
        return {**self._document(request, site), "email": site.email, "share": site.share}


def _entity_tag(site: Site) -> str:
    return f'"{site.revision}"'


def _matches(condition: str, tag: str) -> bool:
    """Return whether an If-Match field allows the change (RFC 9110 section 13.1.1)."""
    tags = [one.strip() for one in condition.split(",")]
    return not condition or tags == ["*"] or tag in tags


def link_to_next(request: ConsoleRequest, cursor: str | None) -> dict[str, str]:
    """Return the Link header to the page that begins at ``cursor`` (RFC 8288); None: the last."""
    if cursor is None:
        return {}
    kept = {
        name.decode("utf-8"): values[-1].decode("utf-8")
        for name, values in request.args.items()
        if name != b"cursor"
    }
    path = request.path.decode("ascii", "replace")
    return {"Link": f'<{path}?{urlencode({**kept, "cursor": cursor})}>; rel="next"'}


def wanted_limit(text: str | None) -> int:
    """Return how many entries of a list are wanted. :raises Refusal: 400, that is no number."""
    if text is None:
        return DEFAULT_PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_PAGE):
        problem = Problem("limit", mark("limit is a number from 1 to {most}."), most=MAX_PAGE)
        raise Refusal(400, problem)
    return int(text)
