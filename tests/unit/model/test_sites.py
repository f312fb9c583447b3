"""What is derived from a site, and from changes."""

from __future__ import annotations

from tests.unit.registry.examples import example_site
from watchducks.model.routing import Route


def test_a_site_is_served_under_its_zone_and_its_www() -> None:
    site = example_site("ducks.example", revision=7)
    assert site.hosts == ("ducks.example", "www.ducks.example")
    assert Route.of(site) == Route(7, "ducks", "ducks.example", site.origin)
