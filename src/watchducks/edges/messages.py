"""What is said on the line of an edge, as JSON: sites, verdicts, samples, losses. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from watchducks.journal.losses import Loss
from watchducks.model.changes import Changes
from watchducks.model.metrics import Kind, Sample
from watchducks.model.origins import Address
from watchducks.registry.snapshot import item_of, site_of


def of_changes(changes: Changes) -> list[Any]:
    sites = [item_of(site) for site in changes.sites]
    return [changes.revision, sites, list(changes.removed), changes.more]


def read_changes(revision: int, sites: list[Any], removed: list[str], more: bool) -> Changes:  # noqa: FBT001 -- as it was sent
    return Changes(revision, tuple(site_of(item) for item in sites), tuple(removed), more=more)


class Opinion(NamedTuple):
    """What :class:`watchducks.model.verdicts.Verdicts` says at a moment."""

    serial: int
    ttl_limit: int | None
    healthy: tuple[Address, ...]


def of_opinion(opinion: Opinion) -> list[Any]:
    return [opinion.serial, opinion.ttl_limit, [str(address) for address in opinion.healthy]]


def read_opinion(said: Sequence[Any]) -> Opinion:
    serial, ttl_limit, healthy = said
    return Opinion(serial, ttl_limit, tuple(ipaddress.ip_address(one) for one in healthy))


def read_samples(said: Iterable[Sequence[Any]], process: str) -> list[Sample]:
    """Return the samples of another process, which its name is added to."""
    return [
        Sample(name, Kind(kind), help_, (*((a, b) for a, b in labels), ("process", process)), value)
        for name, kind, help_, labels, value in said
    ]


def of_losses(losses: Iterable[tuple[int, Loss]]) -> list[list[int]]:
    return [[site, *loss] for site, loss in losses]


def read_losses(said: Iterable[Sequence[int]]) -> list[tuple[int, Loss]]:
    return [(site, Loss(rows, first, last)) for site, rows, first, last in said]
