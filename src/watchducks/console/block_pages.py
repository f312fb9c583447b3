"""The blocklist's page, for those who run the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from klein import Field, RequestComponent, Requirer
from klein.interfaces import ISession
from twisted.web.iweb import IRequest

from watchducks.console.access import Access
from watchducks.console.account_pages import wanted_number
from watchducks.console.answers import Answers, Refusal, not_found
from watchducks.console.forms import Forms, csrf_field, form_route
from watchducks.console.frame import Frame, told
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.interfaces import Blocks
from watchducks.console.languages import Languages, mark
from watchducks.console.routing import Routes, router
from watchducks.console.sessions import Session
from watchducks.model.blocks import Block
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import Site


def _text() -> Any:
    return Field.text(required=False, default="")


class BlockPages(Routes):
    """One method a route."""

    app = router()
    requirer = Requirer()

    def __init__(
        self,
        *,
        blocks: Blocks,
        access: Access,
        forms: Forms,
        frame: Frame,
        languages: Languages,
        answers: Answers,
    ) -> None:
        super().__init__(answers)
        self._blocks = blocks
        self._access = access
        self._forms = forms
        self._frame = frame
        self._languages = languages

    @requirer.prerequisite([ISession])
    async def _prepare_form(self, request: ConsoleRequest) -> None:
        await self._forms.prepare(request)

    @requirer.require(  # type: ignore[untyped-decorator]
        app.route("/admin/blocks", methods=["GET"]),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
    )
    async def blocks(self, request: ConsoleRequest, session: Session) -> bytes:
        """List the blocks, and the sites that one of them is about."""
        await self._admin(request)
        return await self._page(request, session, {})

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/admin/blocks", methods=["POST"])),
        request=RequestComponent(IRequest),
        session=RequestComponent(ISession),
        what=_text(),
        reason=_text(),
    )
    async def add(self, request: ConsoleRequest, session: Session, what: str, reason: str) -> bytes:
        """Add a block, and show which sites that are there it is about."""
        await self._admin(request)
        try:
            made = await self._blocks.add(what, reason, by=self._access.actor(request))
        except InvalidFields as error:
            typed = {"what": what, "reason": reason}
            return await self._page(request, session, typed, error=error)
        return self._frame.redirect(request, f"/admin/blocks?block={made.number}")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/admin/blocks/remove", methods=["POST"])),
        request=RequestComponent(IRequest),
        number=_text(),
    )
    async def remove(self, request: ConsoleRequest, number: str) -> bytes:
        """Remove a block; one that is gone already is none, too."""
        await self._admin(request)
        _ = await self._blocks.remove(wanted_number(number), by=self._access.actor(request))
        return self._frame.redirect(request, "/admin/blocks")

    @requirer.require(  # type: ignore[untyped-decorator]
        form_route(app.route("/admin/blocks/sites", methods=["POST"])),
        request=RequestComponent(IRequest),
        number=_text(),
        act=_text(),
    )
    async def change_sites(self, request: ConsoleRequest, number: str, act: str) -> bytes:
        """Suspend the sites that a block is about, or resume them."""
        await self._admin(request)
        block = _found(await self._blocks.blocks(), number)
        if block is None or act not in ("suspend", "resume"):
            raise not_found()
        by = self._access.actor(request)
        await self._blocks.suspend(block, suspended=act == "suspend", by=by)
        return self._frame.redirect(request, f"/admin/blocks?block={block.number}")

    async def _admin(self, request: ConsoleRequest) -> None:
        viewer = await self._access.viewer(request)
        if not (viewer.session and viewer.admin):
            raise Refusal(403, Problem("forbidden", mark("Only an admin may see this.")))

    async def _page(
        self,
        request: ConsoleRequest,
        session: Session,
        typed: Mapping[str, str],
        *,
        error: InvalidFields | None = None,
    ) -> bytes:
        problems, refusal = ({}, None) if error is None else told(error)
        blocks = await self._blocks.blocks()
        chosen = _found(blocks, argument(request, b"block") or "")
        sites: Sequence[Site] = await self._blocks.sites_of(chosen) if chosen else ()
        language = self._languages.of(request)
        return self._frame.page(
            request,
            "blocks.html",
            status=refusal.status if refusal else 200,
            secret=True,
            page="account",
            csrf=await csrf_field(session),
            blocks=blocks,
            chosen=chosen,
            sites=sites,
            values={"what": "", "reason": "", **typed},
            problems=problems,
            summary=language.problem(refusal.problem) if refusal else "",
        )


def _found(blocks: Sequence[Block], number: str) -> Block | None:
    wanted = wanted_number(number)
    return next((one for one in blocks if one.number == wanted), None)
