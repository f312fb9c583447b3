"""The JSON API of the sites: the same data and the same rules as the pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import quote

from klein import Klein
from twisted.python.failure import Failure

from watchducks.console.answers import Answers, Refusal, no_site
from watchducks.console.bodies import read_json_object
from watchducks.console.dnssec import Dnssec, dnssec_document, wanted_step
from watchducks.console.figures import KINDS, Figures, rfc3339
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


class Api:
    """The routes below /api/v1, one method each.

    :param nameservers: what an owner enters at his registrar.
    :param now: gives POSIX seconds.
    :param rules: what a site's state means here.
    """

    app = Klein()
    app.url_map.merge_slashes = False

    def __init__(
        self,
        *,
        sites: Sites,
        registrations: Registrations,
        figures: Figures,
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
        self._zones = zones
        self._scans = scans
        self._languages = languages
        self._rules = rules
        self._registrations = registrations
        self._figures = figures
        self._nameservers = list(nameservers)
        self._answers = answers
        self._now = now
        self._dnssec = dnssec
        self._origins = origins

    # --- sites ----------------------------------------------------------------------------------

    @app.route("/api/v1/sites", methods=["POST"])
    async def register(self, request: ConsoleRequest) -> bytes:
        """Register a site: 201 with its owner's token, which is shown once."""
        site, token = await self._registrations.register(read_json_object(request))
        location = f"/api/v1/sites/{quote(site.name, safe='')}"
        document = {**self._owners_document(request, site), "token": token}
        return self._answers.json(
            request, document, 201, {"Location": location, "Cache-Control": "no-store"}
        )

    @app.route("/api/v1/sites", methods=["GET"])
    async def sites(self, request: ConsoleRequest) -> bytes:
        """List sites by name, a page at a time; ``next`` is the next page's ``after``."""
        cohort = argument(request, b"cohort")
        limit = _limit(argument(request, b"limit"))
        found = await self._sites.sites(cohort, argument(request, b"after"), limit)
        following = found[-1].name if len(found) == limit else None
        return self._answers.json(
            request, {"sites": [self._document(request, site) for site in found], "next": following}
        )

    @app.route("/api/v1/sites/<name>", methods=["GET"])
    async def site(self, request: ConsoleRequest, name: str) -> bytes:
        """Show one site; to its owner, who sends his token, all of it."""
        site = await self._site(name)
        if header(request, b"authorization"):
            await self._authorise(request, name)
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

    @app.route("/api/v1/sites/<name>/check", methods=["POST"])
    async def check(self, request: ConsoleRequest, name: str) -> bytes:
        """Look within seconds whether the domain is delegated to us: 202; needs a token."""
        await self._authorise(request, name)
        if not await self._sites.look_soon(name):
            raise Refusal(429, TOO_SOON, headers={"Retry-After": str(CLICK_SECONDS)})
        return self._answers.json(request, {"site": (await self._site(name)).name}, 202)

    @app.route("/api/v1/sites/<name>", methods=["PATCH"])
    async def change(self, request: ConsoleRequest, name: str) -> bytes:
        """Change what can be changed of a site; needs its owner's token, or an admin's."""
        await self._authorise(request, name)
        site = await self._registrations.change(name, read_json_object(request))
        return self._answers.json(request, self._owners_document(request, site))

    @app.route("/api/v1/sites/<name>", methods=["DELETE"])
    async def remove(self, request: ConsoleRequest, name: str) -> bytes:
        """Forget a site; needs its owner's token, or an admin's."""
        await self._authorise(request, name)
        await self._sites.remove(name)
        request.setResponseCode(204)
        return b""

    @app.route("/api/v1/sites/<name>/dnssec", methods=["GET"])
    async def dnssec(self, request: ConsoleRequest, name: str) -> bytes:
        """Show how the site's zone is signed, and the DS for its parent."""
        return self._answers.json(request, dnssec_document(await self._site(name), self._now()))

    @app.route("/api/v1/sites/<name>/dnssec", methods=["POST"])
    async def step_keys(self, request: ConsoleRequest, name: str) -> bytes:
        """Roll the zone's keys, or confirm that the parent has the DS; needs a token."""
        await self._authorise(request, name)
        step = wanted_step(read_json_object(request))
        site = await self._dnssec.take(await self._site(name), step)
        return self._answers.json(request, dnssec_document(site, self._now()))

    # --- records --------------------------------------------------------------------------------

    @app.route("/api/v1/sites/<name>/records", methods=["GET"])
    async def records(self, request: ConsoleRequest, name: str) -> bytes:
        """Show the records of a site's zone, but for those that we make."""
        site = await self._site(name)
        document = await self._zones.document(site)
        return self._answers.json(request, document, headers={"ETag": _entity_tag(site)})

    @app.route("/api/v1/sites/<name>/records", methods=["PUT"])
    async def replace_records(self, request: ConsoleRequest, name: str) -> bytes:
        """Replace all of them; needs the site's owner's token, or an admin's. ``notes`` of the
        answer say what was left out, or is worth a look."""
        await self._authorise(request, name)
        site = await self._site(name)
        if not _matches(header(request, b"if-match"), _entity_tag(site)):
            raise RevisionChanged
        fields = read_json_object(request)
        site, assembled = await self._zones.replace(site, fields)
        document = {
            **await self._zones.document(site),
            "notes": self._notes(request, assembled.notes),
        }
        return self._answers.json(request, document, headers={"ETag": _entity_tag(site)})

    @app.route("/api/v1/sites/<name>/records/import", methods=["POST"])
    async def import_records(self, request: ConsoleRequest, name: str) -> bytes:
        """Import a zone file (``zonefile``): its records replace those of the same name and type,
        or all (``replace``); with ``dry_run`` the answer only says what would change."""
        await self._authorise(request, name)
        site = await self._site(name)
        if not _matches(header(request, b"if-match"), _entity_tag(site)):
            raise RevisionChanged
        wanted = ImportRequest.read(read_json_object(request))
        found = await self._zones.importing(site, wanted.zonefile, replace=wanted.replace)
        if not wanted.dry_run:
            site = await self._zones.keep(site, found.contents)
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

    @app.route("/api/v1/sites/<name>/records/offers", methods=["GET"])
    async def offers(self, request: ConsoleRequest, name: str) -> bytes:
        """Show the owner records that visitors ask for and that only his old name servers have."""
        await self._authorise(request, name)
        return self._answers.json(request, await self._scans.offers(await self._site(name)))

    # --- scans ----------------------------------------------------------------------------------

    @app.route("/api/v1/sites/<name>/scan", methods=["GET"])
    async def scan(self, request: ConsoleRequest, name: str) -> bytes:
        """Show the owner what the zone held before it was ours, and what would change."""
        await self._authorise(request, name)
        site, language = await self._site(name), self._languages.of(request)
        document = await self._scans.document(site, language, self._now())
        return self._answers.json(request, document)

    @app.route("/api/v1/sites/<name>/scan", methods=["POST"])
    async def scan_again(self, request: ConsoleRequest, name: str) -> bytes:
        """Look through the present DNS again, soon: 202; needs a token."""
        await self._authorise(request, name)
        site = await self._site(name)
        self._scans.request(site)
        return self._answers.json(request, {"site": site.name, "zone": site.zone}, 202)

    @app.route("/api/v1/cohorts", methods=["GET"])
    async def cohorts(self, request: ConsoleRequest) -> bytes:
        """List the cohorts, each with how many sites it has."""
        found = await self._sites.cohorts()
        return self._answers.json(
            request, {"cohorts": [{"name": name, "sites": count} for name, count in found]}
        )

    # --- figures --------------------------------------------------------------------------------

    @app.route(
        f"/api/v1/sites/<name>/<any({', '.join(KINDS)}):kind>",
        methods=["GET"],
    )
    async def figures(self, request: ConsoleRequest, name: str, kind: str) -> bytes:
        """Show one kind of figures of a site over a period."""
        chosen = self._figures.period(
            argument(request, b"range"),
            argument(request, b"from"),
            argument(request, b"to"),
        )
        site = await self._site(name)
        document = await self._figures.document(kind, site.id, chosen)
        return self._answers.json(request, {"site": site.name, **document})

    @app.route("/api/v1/sites/<name>/dns", methods=["GET"])
    async def dns(self, request: ConsoleRequest, name: str) -> bytes:
        """Show the DNS questions about a site's zone over a period."""
        chosen = self._figures.period(
            argument(request, b"range"),
            argument(request, b"from"),
            argument(request, b"to"),
        )
        site = await self._site(name)
        document = await self._figures.dns_document(site.zone, chosen)
        return self._answers.json(request, {"site": site.name, "zone": site.zone, **document})

    # --------------------------------------------------------------------------------------------

    @app.handle_errors(Exception)
    def _failed(self, request: Any, failure: Failure) -> bytes:
        return self._answers.refuse(request, failure.value)

    async def _site(self, name: str) -> Site:
        site = await self._sites.site(name)
        if site is None:
            raise no_site(name)
        return site

    async def _authorise(self, request: ConsoleRequest, name: str) -> None:
        """Let only the owner and admins go on.

        :raises Refusal: 401 without a token, 404 without such a site, 403 with a wrong token.
        """
        token = bearer_token(header(request, b"authorization"))
        await self._site(name)
        if not await self._sites.authorise(name, token):
            problem = Problem("forbidden", mark("This token is not good for this site."))
            raise Refusal(403, problem)

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
            "nameservers": self._nameservers,
            "origin_health": origin_document(
                self._origins.report(site.id), self._languages.of(request)
            ),
        }

    def _owners_document(self, request: ConsoleRequest, site: Site) -> Mapping[str, Any]:
        return {**self._document(request, site), "email": site.email}


def bearer_token(authorization: str) -> str:
    """Return the token of an Authorization header (RFC 6750 section 2.1).

    :raises Refusal: 401, there is none.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        problem = Problem("unauthorized", mark("Send the site's token as Authorization: Bearer."))
        raise Refusal(401, problem, headers={"WWW-Authenticate": 'Bearer realm="watchducks"'})
    return token.strip()


def _entity_tag(site: Site) -> str:
    return f'"{site.revision}"'


def _matches(condition: str, tag: str) -> bool:
    """Return whether an If-Match field allows the change (RFC 9110 section 13.1.1)."""
    tags = [one.strip() for one in condition.split(",")]
    return not condition or tags == ["*"] or tag in tags


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_PAGE):
        problem = Problem("limit", mark("limit is a number from 1 to {most}."), most=MAX_PAGE)
        raise Refusal(400, problem)
    return int(text)
