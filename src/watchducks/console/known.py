"""Known sites: the site of that name, or the refusal that says there is none."""

from __future__ import annotations

from watchducks.console.answers import no_site
from watchducks.console.interfaces import Sites
from watchducks.model.sites import Site


async def known_site(sites: Sites, name: str) -> Site:
    """Return the site called ``name``. :raises Refusal: 404."""
    site = await sites.site(name)
    if site is None:
        raise no_site(name)
    return site
