"""What is derived from a site, and from changes."""

from __future__ import annotations

from dataclasses import astuple, replace

import pytest

from tests.unit.registry.examples import example_site
from watchducks.model.routing import Route
from watchducks.model.sites import DEFAULT_CHOICES, SiteChoices


def test_a_site_is_served_under_its_zone_and_its_www() -> None:
    site = example_site("ducks.example", revision=7)
    assert site.hosts == ("ducks.example", "www.ducks.example")
    assert Route.of(site) == Route(7, "ducks", "ducks.example", site.origin)


def test_a_route_carries_the_choices_of_its_site() -> None:
    choices = SiteChoices("pinned", "ab" * 32, redirect_to_https=True, hsts_seconds=300)
    site = replace(example_site("ducks.example"), choices=choices)
    assert Route.of(site).choices is choices


def test_choices_as_stores_keep_them() -> None:
    choices = SiteChoices("pinned", "ab" * 32, True, 300, True, "page q", True, False)
    assert SiteChoices.read(*astuple(choices)) == choices
    # One object for all who chose nothing: there are 100,000 of them.
    assert SiteChoices.read("verify", "", False, 0, False, "", False, True) is DEFAULT_CHOICES


@pytest.mark.parametrize(
    "stored",
    [
        ("maybe", "", False, 0, False, "", False, True),
        ("off", None, False, 0, False, "", False, True),
        ("off", "", "no", 0, False, "", False, True),
        ("off", "", True, "9", False, "", False, True),
        ("off", "", True, 9, 0, "", False, True),
        ("off", "", True, 9, False, None, False, True),
        ("off", "", True, 9, False, "", "", True),
        ("off", "", True, 9, False, "", False, 1),
    ],
)
def test_what_was_never_stored_is_refused(stored: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="no choices"):
        SiteChoices.read(*stored)
