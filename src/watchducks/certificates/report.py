"""What the keeper of certificates tells a sysadmin: what is due next, and what does not succeed."""

from __future__ import annotations

import heapq
from datetime import UTC, datetime
from typing import Any, Final

from watchducks.certificates.keeper import Keeper
from watchducks.certificates.plan import NEVER, is_open

# Of each kind, the first in time: who has more to look at looks at the console, or at the registry.
MAX_TOLD: Final = 10


def report(keeper: Keeper, now: float) -> dict[str, Any]:
    """Return how certificates are at ``now``, as JSON has it; times as RFC 3339."""
    held = [
        (one.held.due, bundle, one.held.not_after, one.authority)
        for bundle, one in keeper.holdings.items()
    ]
    failures = [
        (one.last, name, one.until, one.reason)
        for zone in keeper.memory.failures.values()
        if is_open(zone)
        for name, one in zone.items()
        if one.until
    ]
    waits = [
        (wait.until, bundle, authority)
        for bundle in keeper.memory.bundles()
        for authority, wait in keeper.memory.bundle(bundle).waits.items()
    ]
    return {
        "kept": len(held),
        "under_way": keeper.orders_under_way,
        "due": [
            {"certificate": bundle, "due": when(due), "ends": when(ends), "authority": authority}
            for due, bundle, ends, authority in heapq.nsmallest(MAX_TOLD, held)
        ],
        "failing_names": len(failures),
        "failing": [
            {"name": name, "failed": when(last), "again": when(until), "reason": reason}
            for last, name, until, reason in heapq.nlargest(MAX_TOLD, failures)
        ],
        "silent": [
            {"authority": place.name, "until": when(place.paused_until)}
            for place in keeper.authorities.all()
            if place.paused_until > now
        ],
        "waiting": [
            {"certificate": bundle, "authority": authority, "until": when(until)}
            for until, bundle, authority in heapq.nsmallest(MAX_TOLD, waits)
        ],
    }


def when(seconds: float) -> str | None:
    """Return POSIX seconds as RFC 3339; None: never."""
    if seconds == NEVER:
        return None
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
