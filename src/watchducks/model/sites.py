"""Sites: what an owner registers, and what is derived from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from watchducks.model.origins import Origin


class SiteState(StrEnum):
    """How far a site's cutover has come (docs/architecture.md, "Site states")."""

    REGISTERED = "registered"
    DELEGATED = "delegated"
    CERTIFIED = "certified"
    ACTIVE = "active"
    FAILOVER = "failover"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Registration:
    """A request to register a site, every field already validated and normalised."""

    name: str
    domain: str
    origin: Origin
    email: str
    cohort: str


@dataclass(frozen=True, slots=True)
class Site:
    """A registered site, as the registry holds it.

    :ivar id: a positive integer that is never used again; rows of traffic carry it.
    :ivar name: what people call it; unique without regard to case, part of URLs.
    :ivar domain: the domain as registered, A-labels.
    :ivar zone: the zone we answer for; unique.
    :ivar cohort: the group it is ranked in.
    :ivar revision: the registry's revision in which this row last changed.
    :ivar created: POSIX seconds.
    """

    id: int
    name: str
    domain: str
    zone: str
    origin: Origin
    email: str
    cohort: str
    state: SiteState
    revision: int
    created: int

    @property
    def hosts(self) -> tuple[str, str]:
        """The host names that lead visitors to the proxy: the zone's apex and its ``www``."""
        return self.zone, f"www.{self.zone}"
