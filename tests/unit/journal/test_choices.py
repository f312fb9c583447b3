from __future__ import annotations

from dataclasses import replace

from tests.unit.registry.examples import example_site
from watchducks.journal.choices import OwnersChoices
from watchducks.model.changes import Changes
from watchducks.model.sites import DEFAULT_CHOICES, SiteChoices

CHOSEN = SiteChoices(keep_networks=True)


def test_choices_follow_the_registry() -> None:
    choices = OwnersChoices()
    ducks = example_site("ducks.example", revision=7)
    geese = replace(example_site("geese.example", revision=8), choices=CHOSEN)
    choices.apply(Changes(8, (ducks, geese), (), more=False))
    assert choices.of(geese.id) == CHOSEN
    assert choices.of(ducks.id) is choices.of(99) is DEFAULT_CHOICES
    choices.apply(Changes(9, (replace(ducks, choices=CHOSEN),), (geese.zone,), more=False))
    assert choices.of(geese.id) is DEFAULT_CHOICES
    assert choices.of(ducks.id) == CHOSEN
    choices.apply(Changes(10, (ducks,), (), more=False))
    assert choices.of(ducks.id) is DEFAULT_CHOICES
    assert not choices._ids
