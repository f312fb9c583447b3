"""What is said on the line arrives as it was meant."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from tests.unit.registry.examples import example_site
from watchducks.edges.messages import (
    Opinion,
    of_changes,
    of_losses,
    of_opinion,
    read_changes,
    read_losses,
    read_opinion,
    read_samples,
)
from watchducks.journal.losses import Loss
from watchducks.model.changes import Changes
from watchducks.model.metrics import gauge


def over_the_line(said: Any) -> Any:
    return json.loads(json.dumps(said))


def test_changes() -> None:
    changes = Changes(7, (example_site("a.example", revision=7),), ("b.example",), more=True)
    assert read_changes(*over_the_line(of_changes(changes))) == changes


def test_verdicts() -> None:
    healthy = (ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1"))
    for opinion in (Opinion(17, None, healthy), Opinion(18, 2, ())):
        assert read_opinion(over_the_line(of_opinion(opinion))) == opinion


def test_samples_say_whose_they_are() -> None:
    sample = gauge("watchducks_known_hosts", "Hosts.", 3.0, kind="a")
    (read,) = read_samples(over_the_line([list(sample)]), "edge-1")
    assert read == sample._replace(labels=(("kind", "a"), ("process", "edge-1")))


def test_losses() -> None:
    lost = [(1, Loss(8, 100, 120)), (1, Loss(1, 4000, 4000)), (2, Loss(1, 115, 115))]
    assert read_losses(over_the_line(of_losses(lost))) == lost
