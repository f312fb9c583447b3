"""The pages of an account: signing in by a mailed link, one's sites, tokens, and the audit trail.

A link is used up by a button of its page, not by opening it: mail programs open what they are sent.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from klein import Field, RequestComponent, Requirer
from klein.interfaces import ISession
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.iweb import IRequest

from watchducks.analytics.periods import time_zone
from watchducks.background import Tasks
from watchducks.console.access import Access, session_cookie
from watchducks.console.answers import Answers, Refusal
from watchducks.console.clocks import remember
from watchducks.console.forms import Forms, csrf_field, form_route
from watchducks.console.frame import Frame, told, visitor
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.interfaces import Accounts, Sites
from watchducks.console.languages import Languages, mark
from watchducks.console.owners import Owners
from watchducks.console.rates import RateLimit
from watchducks.console.routing import Routes, router
from watchducks.console.sessions import Session, SignedSessions
from watchducks.console.states import state_names
from watchducks.console.trails import shown_entries
from watchducks.model.accounts import SESSION_SECONDS, Scope, Viewer, token_label, token_scope
from watchducks.model.names import normalise_email
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import Site
from watchducks.stores.interfaces import StoreUnavailable

# From one network: an office signs in after lunch. Beyond, somebody tries addresses.
LINKS_PER_SECOND: Final = 1 / 30
LINKS_BURST: Final = 10
# For one address: he asks again when the first letter is late.
MAILS_PER_SECOND: Final = 1 / 120
MAILS_BURST: Final = 3
# A page of the trail.
PAGE_ENTRIES: Final = 100
# What a note in the session is called that carries a new token to the next page.
_NOTE: Final = "new token"


def _text() -> Any:
    return Field.text(required=False, default="")


class AccountPages(Routes):
    """One method a route."""

    app = router()
    requirer = Requirer()

    def __init__(
        self,
        *,
        sites: Sites,
        accounts: Accounts,
        access: Access,
        owners: Owners,
        sessions: SignedSessions,
        forms: Forms,
        frame: Frame,
        languages: Languages,
        answers: Answers,
        clock: IReactorTime,
    ) -> None:
        super().__init__(answers)
        self._sites = sites
        self._accounts = accounts
        self._access = access
        self._owners = owners
        self._sessions = sessions
        self._forms = forms
        self._frame = frame
        self._languages = languages
        self._links = RateLimit(LINKS_PER_SECOND, LINKS_BURST, clock)
        self._mails = RateLimit(MAILS_PER_SECOND, MAILS_BURST, clock)
        self._tasks = Tasks(Logger())

    async def stop(self) -> None:
        """End what runs beside the pages."""
        await self._tasks.stop()

    @requirer.prerequisite([ISession])
    async def _prepare_form(self, request: ConsoleRequest) -> None:
        await self._forms.prepare(request)

    # --- signing in -----------------------------------------------------------------------------

    @requirer.require(  # type: ignore[untyped-decorator]
        app.route("/sign-in", methods=["GET"]),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
    )
    async def sign_in_form(self, request: ConsoleRequest, session: Session) -> bytes:
        """Ask for the address to send a link to."""
        return await self._sign_in_page(request, session, sent=bool(argument(request, b"sent")))

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sign-in", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        email=_text(),
    )
    async def ask_link(self, request: ConsoleRequest, session: Session, email: str) -> bytes:
        """Send a link, if there is such an account; the answer is the same if there is none."""
        if not self._links.allows(self._access.network(request) or visitor(request)):
            problem = Problem("too-many", mark("Too many requests; try again in a minute."))
            raise Refusal(429, problem, headers={"Retry-After": "60"})
        try:
            address = normalise_email(email)
        except Problem as problem:
            return await self._sign_in_page(request, session, email=email, problem=problem)
        if self._mails.allows(address.lower()):
            # Beside the answer, which comes as soon whether there is an account or not.
            language = self._languages.of(request).code
            self._tasks.start(self._accounts.ask_link(address, language), "sending a link")
        return self._frame.redirect(request, "/sign-in?sent=yes")

    async def _sign_in_page(
        self,
        request: ConsoleRequest,
        session: Session,
        *,
        email: str = "",
        problem: Problem | None = None,
        sent: bool = False,
    ) -> bytes:
        return self._frame.page(
            request,
            "sign-in.html",
            status=422 if problem else 200,
            secret=True,
            page="sign-in",
            csrf=await csrf_field(session),
            values={"email": email},
            problems={"email": problem} if problem else {},
            sent=sent,
        )

    @requirer.require(  # type: ignore[untyped-decorator]
        app.route("/sign-in/<secret>", methods=["GET"]),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
    )
    async def link(self, request: ConsoleRequest, secret: str, session: Session) -> bytes:
        """Say whom a link signs in, and offer to."""
        email = await self._accounts.link_of(secret)
        if email is None:
            raise _used_up()
        csrf = await csrf_field(session)
        return self._frame.page(
            request, "sign-in-link.html", secret=True, page="sign-in", csrf=csrf, email=email
        )

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sign-in/<secret>", methods=["POST"])),
        request=RequestComponent(IRequest),
    )
    async def sign_in(self, request: ConsoleRequest, secret: str) -> bytes:
        """Begin a session, and use the link up."""
        found = await self._accounts.sign_in(secret, self._access.network(request))
        if found is None:
            raise _used_up()
        request.addCookie(session_cookie(request), found, max_age=str(SESSION_SECONDS))
        return self._frame.redirect(request, "/account")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/sign-out", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        everywhere=_text(),
    )
    async def sign_out(self, request: ConsoleRequest, session: Session, everywhere: str) -> bytes:
        """End this browser's session, or all of the account."""
        secret = self._access.session_of(request)
        if secret:
            network = self._access.network(request)
            await self._accounts.sign_out(secret, network, everywhere=bool(everywhere))
        self._owners.forget(session)
        request.addCookie(session_cookie(request), "", max_age="0")
        return self._frame.redirect(request, "/")

    # --- one's own ------------------------------------------------------------------------------

    @requirer.require(  # type: ignore[untyped-decorator]
        app.route("/account", methods=["GET"]),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
    )
    async def account(self, request: ConsoleRequest, session: Session) -> bytes:
        """List one's sites."""
        viewer = await self._signed_in(request)
        if viewer is None:
            return self._frame.redirect(request, "/sign-in")
        return self._frame.page(
            request,
            "account.html",
            secret=True,
            page="account",
            csrf=await csrf_field(session),
            viewer=viewer,
            sites=await self._accounts.sites_of(viewer.email),
            state_names=state_names(self._languages.of(request)),
        )

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/account/zone", methods=["POST"])),
        request=RequestComponent(IRequest),
        zone=_text(),
    )
    async def keep_zone(self, request: ConsoleRequest, zone: str) -> bytes:
        """Keep in which time zone the account sees figures, in every browser."""
        viewer = await self._signed_in(request)
        if viewer is None:
            return self._frame.redirect(request, "/sign-in")
        name = time_zone(zone.strip()).key if zone.strip() else ""
        await self._accounts.keep_time_zone(viewer.email, name)
        remember(request, "")  # what was chosen before in this browser is over
        return self._frame.redirect(request, "/account")

    @requirer.require(  # type: ignore[untyped-decorator]
        app.route("/account/tokens", methods=["GET"]),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
    )
    async def tokens(self, request: ConsoleRequest, session: Session) -> bytes:
        """List the account's tokens; right after one was made, show it."""
        viewer = await self._signed_in(request)
        if viewer is None:
            return self._frame.redirect(request, "/sign-in")
        return await self._tokens_page(request, session, viewer)

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/account/tokens", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        label=_text(),
        scope=_text(),
        site=_text(),
    )
    async def make_token(
        self, request: ConsoleRequest, session: Session, label: str, scope: str, site: str
    ) -> bytes:
        """Make a token, which the next page shows once."""
        viewer = await self._signed_in(request)
        if viewer is None:
            return self._frame.redirect(request, "/sign-in")
        by = self._access.actor(request)
        try:
            wanted, good_for = wanted_token(
                {"label": label, "scope": scope, "site": site},
                await self._accounts.sites_of(viewer.email),
            )
            _, text = await self._accounts.make_token(viewer.email, *wanted, good_for, by=by)
        except (InvalidFields, StoreUnavailable) as error:
            typed = {"label": label, "scope": scope, "site": site}
            return await self._tokens_page(request, session, viewer, typed=typed, error=error)
        self._sessions.leave_note(session, _NOTE, text)
        return self._frame.redirect(request, "/account/tokens?made=yes")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/account/tokens/revoke", methods=["POST"])),
        request=RequestComponent(IRequest),
        number=_text(),
    )
    async def revoke_token(self, request: ConsoleRequest, number: str) -> bytes:
        """Forget a token; one that is forgotten already is none, too."""
        viewer = await self._signed_in(request)
        if viewer is None:
            return self._frame.redirect(request, "/sign-in")
        by = self._access.actor(request)
        _ = await self._accounts.revoke_token(viewer.email, wanted_number(number), by=by)
        return self._frame.redirect(request, "/account/tokens")

    async def _tokens_page(
        self,
        request: ConsoleRequest,
        session: Session,
        viewer: Viewer,
        *,
        typed: dict[str, str] | None = None,
        error: BaseException | None = None,
    ) -> bytes:
        problems, refusal = ({}, None) if error is None else told(error)
        language = self._languages.of(request)
        made = None
        if argument(request, b"made") is not None and request.method == b"GET":
            made = self._sessions.take_note(session, _NOTE)
        return self._frame.page(
            request,
            "tokens.html",
            status=refusal.status if refusal else 200,
            secret=True,
            page="account",
            csrf=await csrf_field(session),
            tokens=await self._accounts.tokens_of(viewer.email),
            sites=await self._accounts.sites_of(viewer.email),
            values={"label": "", "scope": Scope.READ.value, "site": "", **(typed or {})},
            problems=problems,
            summary=language.problem(refusal.problem) if refusal else "",
            made=made,
        )

    # --- the trail ------------------------------------------------------------------------------

    @app.route("/sites/<name>/history", methods=["GET"])
    async def history(self, request: ConsoleRequest, name: str) -> bytes:
        """Show the owner what was done to his site, and by whom."""
        site = await self._access.seen(request, name)
        if not await self._access.owns(request, site):
            words = mark("Sign in, or show the owner token of this site, first.")
            raise Refusal(403, Problem("locked", words))
        return await self._trail(request, site)

    @app.route("/account/trail", methods=["GET"])
    async def trail(self, request: ConsoleRequest) -> bytes:
        """Show an admin what was done at all."""
        viewer = await self._signed_in(request)
        if viewer is None:
            return self._frame.redirect(request, "/sign-in")
        if not viewer.admin:
            raise Refusal(403, Problem("forbidden", mark("Only an admin may see this.")))
        return await self._trail(request, None)

    async def _trail(self, request: ConsoleRequest, site: Site | None) -> bytes:
        before = argument(request, b"before")
        entries = await self._sites.trail(
            None if site is None else site.id,
            None if before is None else wanted_number(before),
            PAGE_ENTRIES,
        )
        more = len(entries) == PAGE_ENTRIES
        path = "/account/trail" if site is None else f"/sites/{quote(site.name, safe='')}/history"
        return self._frame.page(
            request,
            "trail.html",
            secret=True,
            page="history" if site else "account",
            site=site,
            entries=shown_entries(entries, self._languages.of(request)),
            next_page=f"{path}?before={entries[-1].number}" if more else None,
        )

    async def _signed_in(self, request: ConsoleRequest) -> Viewer | None:
        viewer = await self._access.viewer(request)
        return viewer if viewer.session else None


def _used_up() -> Refusal:
    words = mark("This link was used already, or is too old. Ask for another one.")
    return Refusal(403, Problem("link", words))


def wanted_number(text: str) -> int:
    """Return the number of an entry or a token; 0, which none has, for what is no number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def wanted_token(
    fields: dict[str, Any], sites: list[Site]
) -> tuple[tuple[str, Scope], Site | None]:
    """Return the label and scope of a token to be made, and its site; None: all of the account's.

    :param sites: the account's.
    :raises InvalidFields: with every problem.
    """
    problems: dict[str, Problem] = {}
    values: dict[str, Any] = {}
    for name, check in (("label", token_label), ("scope", token_scope)):
        try:
            values[name] = check(fields.get(name, ""))
        except Problem as problem:
            problems[name] = problem
    wanted = fields.get("site") or ""
    found = next((site for site in sites if site.name == wanted), None)
    if wanted and found is None:
        problems["site"] = Problem("no-site", "Choose one of your sites.")
    if problems:
        raise InvalidFields(problems)
    return (values["label"], values["scope"]), found
