"""What an owner is told a week before his site is forgotten."""

from __future__ import annotations

from watchducks.lookups.cutovers import Warns
from watchducks.model.letters import LetterKind, Post, site_letter
from watchducks.model.sites import Site
from watchducks.stores.interfaces import StoreUnavailable


def farewells(post: Post) -> Warns:
    """Return what posts these letters."""

    async def warn(site: Site, forgotten: float) -> None:
        letter = site_letter(LetterKind.FAREWELL, site, {"forgotten": forgotten})
        if not await post.post(letter):
            raise StoreUnavailable("the site's owner had too many letters today")

    return warn
