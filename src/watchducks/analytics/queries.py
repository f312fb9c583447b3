"""The questions behind the pages. SQL in the subset that ClickHouse 18.16 and 26 share.

``requests`` always counts rows of kind ``request``; passed-through connections are told apart.
Each question takes the coarsest roll-ups that answer it exactly (tiles); with filters, raw rows.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from watchducks.analytics.cohorts import CohortQuestions
from watchducks.analytics.dns import DnsQuestions
from watchducks.analytics.events import EventQuestions
from watchducks.analytics.reading import Reader
from watchducks.analytics.sites import SiteQuestions
from watchducks.stores.interfaces import LogStore


class Analytics(SiteQuestions, CohortQuestions, EventQuestions, DnsQuestions):
    """All questions. Every method may raise StoreUnavailable or StoreRefused
    (:mod:`watchducks.stores.interfaces`)."""

    def __init__(self, store: LogStore, *, clock: IReactorTime) -> None:
        super().__init__(Reader(store, clock=clock))
