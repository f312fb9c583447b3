"""Which letters somebody gets: by the link in each of them, and among his account's pages.

A link needs no signing in, and what it shows is only about the site of its letter, because letters
are handed on. Opening it changes nothing: mail programs open what they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from klein import Field, RequestComponent, Requirer
from klein.interfaces import ISession
from twisted.web.iweb import IRequest

from watchducks.console.access import Access
from watchducks.console.account_pages import wanted_number
from watchducks.console.answers import HTML, Answer, Answers, Refusal, not_found
from watchducks.console.bodies import read_form
from watchducks.console.forms import Forms, csrf_field, form_route
from watchducks.console.frame import Frame
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.interfaces import Accounts, Letters, Unsubscribes
from watchducks.console.languages import mark
from watchducks.console.routing import Routes, router
from watchducks.console.sessions import Session
from watchducks.model.problems import Problem
from watchducks.model.sites import Site
from watchducks.model.subjects import ALL_SITES, OF_ALL_SITES, OF_ONE_SITE, Subject, Subscription

# What programs send that stop letters for their user (RFC 8058).
_ONE_CLICK: Final = (b"List-Unsubscribe", b"One-Click")
# In the order of the page.
WORDS: Final[Mapping[Subject, str]] = {
    Subject.REPORT: mark("The report of the week"),
    Subject.SPIKE: mark("Many more visitors than usual"),
    Subject.DROP: mark("Far fewer visitors than usual"),
    Subject.ERRORS: mark("Many errors of the server"),
    Subject.CERTIFICATE: mark("Trouble with the certificate"),
    Subject.NAME_SERVERS: mark("The name servers have changed"),
    Subject.FAILOVER: mark("Visitors go to your own server for a while (about all sites at once)"),
}


@dataclass(frozen=True, slots=True)
class Group:
    """What can be chosen together: the letters about one site, or those about all at once.

    :ivar site: None: about all. :ivar wanted: subject -> whether letters about it are sent.
    """

    site: Site | None
    wanted: Mapping[Subject, bool]

    @property
    def number(self) -> int:
        """The site's id, as the form has it."""
        return ALL_SITES if self.site is None else self.site.id


def _subjects() -> dict[str, Any]:
    return {subject.value: Field.text(required=False, default="") for subject in Subject}


class LetterPages(Routes):
    """One method a route."""

    app = router()
    requirer = Requirer()

    def __init__(
        self,
        *,
        letters: Letters,
        unsubscribing: Unsubscribes,
        accounts: Accounts,
        access: Access,
        forms: Forms,
        frame: Frame,
        answers: Answers,
    ) -> None:
        super().__init__(answers)
        self._letters = letters
        self._unsubscribing = unsubscribing
        self._accounts = accounts
        self._access = access
        self._forms = forms
        self._frame = frame

    @requirer.prerequisite([ISession])
    async def _prepare_form(self, request: ConsoleRequest) -> None:
        await self._forms.prepare(request)

    # --- by the link in a letter ----------------------------------------------------------------

    @requirer.require(  # type: ignore[untyped-decorator]
        app.route("/letters/<code>", methods=["GET"]),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
    )
    async def link(self, request: ConsoleRequest, code: str, session: Session) -> bytes:
        """Offer to stop the letters of a link's kind, and what else is sent about its site."""
        its = await self._read(code)
        group = await self._group(its)
        return self._frame.page(
            request,
            "letters.html",
            secret=True,
            page="letters",
            csrf=await csrf_field(session),
            email=its.email,
            subject=its.subject,
            stopped=(its.site_id, its.subject) in await self._letters.unwanted(its.email),
            groups=[group] if group else [],
            words=WORDS,
            action=f"/letters/{code}/choose",
            stop=f"/letters/{code}/stop",
            kept=argument(request, b"kept") is not None,
        )

    @app.route("/letters/<code>", methods=["POST"])
    async def one_click(self, request: ConsoleRequest, code: str) -> bytes:
        """Stop the letters of a link's kind for a mail program, which has no cookies and no form of
        ours: the link alone is what it shows."""
        its = await self._read(code)
        name, value = _ONE_CLICK
        if value not in read_form(request).get(name, ()):
            words = mark("Send List-Unsubscribe=One-Click, or open the link in a browser.")
            raise Refusal(400, Problem("one-click", words))
        await self._letters.stop(its)
        return self._answers.send(request, Answer(b"", HTML, headers={"Cache-Control": "no-store"}))

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/letters/<code>/stop", methods=["POST"])),
        request=RequestComponent(IRequest),
    )
    async def stop(self, request: ConsoleRequest, code: str) -> bytes:
        """Stop the letters of a link's kind."""
        await self._letters.stop(await self._read(code))
        return self._frame.redirect(request, f"/letters/{code}?kept=yes")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/letters/<code>/choose", methods=["POST"])),
        request=RequestComponent(IRequest),
        **_subjects(),
    )
    async def choose(self, request: ConsoleRequest, code: str, **chosen: str) -> bytes:
        """Keep which letters are sent about the site of a link's letter."""
        its = await self._read(code)
        group = await self._group(its)
        if group is not None:
            await self._letters.choose(its.email, group.number, _not_wanted(group, chosen))
        return self._frame.redirect(request, f"/letters/{code}?kept=yes")

    async def _read(self, code: str) -> Subscription:
        its = await self._unsubscribing.read(code)
        if its is None:
            words = mark("This link is damaged. Open it from the letter again, or sign in.")
            raise not_found(Problem("letters", words))
        return its

    async def _group(self, its: Subscription) -> Group | None:
        """Return what a link may choose; None: its site has left, or is somebody else's by now."""
        unwanted = await self._letters.unwanted(its.email)
        if its.site_id == ALL_SITES:
            return _group(None, unwanted)
        sites = await self._accounts.sites_of(its.email)
        return next((_group(one, unwanted) for one in sites if one.id == its.site_id), None)

    # --- among the pages of an account ----------------------------------------------------------

    @requirer.require(  # type: ignore[untyped-decorator]
        app.route("/account/letters", methods=["GET"]),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
    )
    async def account(self, request: ConsoleRequest, session: Session) -> bytes:
        """Show an owner which letters he gets."""
        viewer = await self._access.viewer(request)
        if not viewer.session:
            return self._frame.redirect(request, "/sign-in")
        return self._frame.page(
            request,
            "letters.html",
            secret=True,
            page="account",
            csrf=await csrf_field(session),
            email=viewer.email,
            subject=None,
            groups=await self._groups(viewer.email),
            words=WORDS,
            action="/account/letters",
            kept=argument(request, b"kept") is not None,
        )

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/account/letters", methods=["POST"])),
        request=RequestComponent(IRequest),
        number=Field.text(required=False, default=""),
        **_subjects(),
    )
    async def keep(self, request: ConsoleRequest, number: str, **chosen: str) -> bytes:
        """Keep which letters an owner gets about one of his sites, or about all at once."""
        viewer = await self._access.viewer(request)
        if not viewer.session:
            return self._frame.redirect(request, "/sign-in")
        wanted = wanted_number(number)
        for group in await self._groups(viewer.email):
            if group.number == wanted:
                await self._letters.choose(viewer.email, wanted, _not_wanted(group, chosen))
        return self._frame.redirect(request, "/account/letters?kept=yes")

    async def _groups(self, email: str) -> Sequence[Group]:
        unwanted = await self._letters.unwanted(email)
        sites = await self._accounts.sites_of(email)
        return [_group(site, unwanted) for site in (None, *sites)]


def _group(site: Site | None, unwanted: frozenset[tuple[int, Subject]]) -> Group:
    number = ALL_SITES if site is None else site.id
    subjects = OF_ALL_SITES if site is None else OF_ONE_SITE
    return Group(site, {one: (number, one) not in unwanted for one in WORDS if one in subjects})


def _not_wanted(group: Group, chosen: Mapping[str, str]) -> list[Subject]:
    return [subject for subject in group.wanted if not chosen.get(subject.value)]
