"""What the proxy needs to know of a site to carry its traffic."""

from __future__ import annotations

from dataclasses import dataclass

from watchducks.model.origins import Origin
from watchducks.model.sites import DEFAULT_CHOICES, Site, SiteChoices


@dataclass(frozen=True, slots=True)
class Route:
    """Where requests for one host go.

    :ivar domain: the name for SNI and for the certificate towards the origin (A-labels).
    """

    site_id: int
    site_name: str
    domain: str
    origin: Origin
    choices: SiteChoices = DEFAULT_CHOICES

    @classmethod
    def of(cls, site: Site) -> Route:
        """Derive the route of ``site``; the same for each of its hosts."""
        return cls(site.id, site.name, site.domain, site.origin, site.choices)
