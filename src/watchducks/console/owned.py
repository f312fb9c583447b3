"""What a site's owner alone may change: who may, and how he shows it on a page."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from klein import Field

from watchducks.console.access import Access
from watchducks.console.answers import Refusal, no_site
from watchducks.console.frame import visitor
from watchducks.console.http import ConsoleRequest
from watchducks.console.interfaces import Sites
from watchducks.console.languages import mark
from watchducks.console.owners import Owners
from watchducks.console.rates import RateLimit
from watchducks.console.sessions import Session
from watchducks.model.problems import Problem
from watchducks.model.sites import Site


class OwnedSites:
    """Gives the pages of an owner the sites that they change.

    :param attempts: of those who show a token.
    """

    def __init__(self, sites: Sites, access: Access, owners: Owners, attempts: RateLimit) -> None:
        self._sites = sites
        self._access = access
        self._owners = owners
        self._attempts = attempts

    async def unlock(
        self, request: ConsoleRequest, session: Session, name: str, token: str
    ) -> tuple[Site, Refusal | None]:
        """Take the owner's token, so that the forms of his site appear; return the site, and what
        is to be said if the token is not good for it.

        :raises Refusal: 404 without such a site, 429 for who tries too often.
        """
        if not self._attempts.allows(visitor(request)):
            problem = Problem("too-many", mark("Too many requests; try again in a second."))
            raise Refusal(429, problem, headers={"Retry-After": "1"})
        site = await self._sites.site(name)
        if site is None:
            raise no_site(name)
        if await self._owners.unlock(session, site.id, site.name, token):
            return site, None
        site = await self._access.seen(request, name)
        wrong = Problem("forbidden", mark("This token is not good for this site."))
        return site, Refusal(403, wrong)

    async def changeable(self, request: ConsoleRequest, name: str) -> Site:
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


def text() -> Any:
    """Return a field of a form that may be left out."""
    return Field.text(required=False, default="")


def address(site: Site, page: str) -> str:
    """Return the address of a site's page."""
    return f"/sites/{quote(site.name, safe='')}/{page}"
