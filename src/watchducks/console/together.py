"""Sites that are summed up and ranked together."""

from __future__ import annotations

from typing import Final

from watchducks.console.interfaces import Sites
from watchducks.model.accounts import Viewer
from watchducks.model.sites import Site

# As many as one question may name; whoever comes later by name is left out. An installation with
# more of them has cohorts.
MOST_SITES: Final = 10_000
# That are read at once: as many as the registry gives.
PAGE_SITES: Final = 1000


async def sites_together(sites: Sites, cohort: str | None, viewer: Viewer) -> list[Site]:
    """Return the sites that ``viewer`` may see listed, by name, :data:`MOST_SITES` at most.

    :raises StoreUnavailable:
    """
    found: list[Site] = []
    while len(found) < MOST_SITES:
        after = found[-1].name if found else None
        page = await sites.sites(cohort, after, PAGE_SITES, viewer=viewer)
        found += page
        if len(page) < PAGE_SITES:
            break
    return found
