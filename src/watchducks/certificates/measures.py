"""What the keeper of certificates shows of itself."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

from watchducks.certificates.keeper import Keeper
from watchducks.certificates.plan import is_open
from watchducks.model.metrics import Sample, counter, gauge

# Certificates that are shown by name: those that end first. An alarm wants no others.
MAX_SHOWN: Final = 20


def samples(keeper: Keeper) -> Iterator[Sample]:
    """Return what is measured now."""
    held = [(one.held.not_after, bundle) for bundle, one in keeper.holdings.items()]
    orders = keeper.orders
    failing = sum(map(is_open, keeper.memory.failures.values()))
    yield gauge("watchducks_certificates", "Certificates that are kept.", len(held))
    yield gauge(
        "watchducks_certificate_failing_sites", "Sites with a name that was not validated.", failing
    )
    yield gauge(
        "watchducks_certificate_orders_under_way", "Orders under way.", keeper.orders_under_way
    )
    yield counter("watchducks_certificate_orders_total", "Orders placed.", orders.placed)
    yield counter("watchducks_certificates_issued_total", "Certificates made.", orders.done)
    yield counter(
        "watchducks_certificate_failures_total", "Attempts that came to nothing.", orders.failures
    )
    if orders.failed_at:
        yield gauge(
            "watchducks_certificate_last_failure_timestamp_seconds",
            "When the last attempt came to nothing.",
            orders.failed_at,
        )
    for not_after, bundle in heapq.nsmallest(MAX_SHOWN, held):
        yield gauge(
            "watchducks_certificate_expiry_timestamp_seconds",
            "When a certificate ends; the first of them to end.",
            not_after,
            certificate=bundle,
        )
