"""Sites for the tests of this folder."""

from __future__ import annotations

from watchducks.model.origins import parse_origin
from watchducks.model.sites import Site, SiteState


def example_site(zone: str, *, revision: int = 1, origin: str = "203.0.113.7") -> Site:
    return Site(
        id=revision,
        name=zone.partition(".")[0],
        domain=zone,
        zone=zone,
        origin=parse_origin(origin),
        email="owner@mail.example",
        cohort="오리",
        state=SiteState.REGISTERED,
        revision=revision,
        created=1_800_000_000,
    )
