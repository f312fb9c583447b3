"""What is to be done for one certificate, and when. Pure.

=====================================================  ===========================================
a bundle of sites                                      what is due
=====================================================  ===========================================
has no certificate                                     one is ordered
has one with other names (a site came or left)         it is ordered anew
has one in its renewal window                          it is renewed
has a name that could not be validated                 that name is left out until its time comes
=====================================================  ===========================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

# After each failed validation of a name, and then always the last: four in the first hour, where
# Let's Encrypt allows five.
RETRY_SECONDS: Final = (60.0, 600.0, 1800.0, 3600.0, 7200.0, 21_600.0)
# However often an owner asks for one: one less than Let's Encrypt allows, for a keeper that was
# killed may have had one refused that it did not write down.
MAX_FAILED_AN_HOUR: Final = 4
# What failed is remembered for so long after it was put right: a name that comes and goes does not
# begin at the shortest wait again within the hour that authorities count.
COUNTED_SECONDS: Final = 3600.0
# Between two turns of the keeper. A new site is noticed at once; this is for what becomes due, and
# for a registry that was away.
TURN_SECONDS: Final = 5.0
# Some turns of the keeper. After a kill -9 whoever comes next waits for this; two keepers at once
# for a moment would order twice, and nothing worse.
LEASE_SECONDS: Final = 20
# Until a second authority stands in: one that is being restarted is back by then; an owner who
# waits should not wait longer.
FALLBACK_SECONDS: Final = 30.0
NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate that we have. :ivar due: when it is to be renewed. POSIX seconds."""

    names: frozenset[str]
    not_after: float
    due: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A name that could not be validated.

    :ivar times: how often in a row. :ivar last: when, and :ivar until: not before, POSIX seconds;
        0: it was put right since. :ivar kind: RFC 8555's error type, or "".
    :ivar counted: when it failed, the last :data:`MAX_FAILED_AN_HOUR` times.
    """

    times: int
    last: float
    until: float
    kind: str
    reason: str
    counted: tuple[float, ...] = ()

    @property
    def soonest(self) -> float:
        """When it may be tried again at the earliest, POSIX seconds."""
        if len(self.counted) < MAX_FAILED_AN_HOUR:
            return self.last
        return self.counted[-MAX_FAILED_AN_HOUR] + COUNTED_SECONDS


@dataclass(frozen=True, slots=True)
class Issue:
    """Order this certificate. :ivar renews: it has these names already.
    :ivar urgent: visitors have none now, or soon will have."""

    bundle: str
    names: tuple[str, ...]
    renews: bool
    urgent: bool


def due_step(
    bundle: str,
    all_names: Sequence[str],
    has: Held | None,
    failures: Mapping[str, Failure],
    now: float,
) -> tuple[Issue | None, float]:
    """Return what is to be done for a bundle now, and when to ask again if it is nothing."""
    names = tuple(name for name in all_names if name not in failures or failures[name].until <= now)
    later = min(
        (failures[name].until for name in all_names if name not in names and name in failures),
        default=NEVER,
    )
    if not names:
        return None, later
    if has is None or has.not_after <= now:
        return Issue(bundle, names, renews=False, urgent=True), now
    if not has.names.issuperset(names) or not has.names <= set(all_names):
        return Issue(bundle, names, renews=False, urgent=True), now
    if has.due <= now:
        half = has.due + (has.not_after - has.due) / 2
        return Issue(bundle, names, renews=True, urgent=now >= half), now
    return None, min(later, has.due)


def failed(
    failures: Mapping[str, Failure], names: Mapping[str, tuple[str, str]], now: float
) -> dict[str, Failure]:
    """Return ``failures`` after ``names`` (each with kind and reason) failed."""
    changed = dict(failures)
    for name, (kind, reason) in names.items():
        times = failures[name].times + 1 if name in failures else 1
        pause = RETRY_SECONDS[min(times, len(RETRY_SECONDS)) - 1]
        before = failures[name].counted if name in failures else ()
        one = Failure(times, now, 0.0, kind, reason, (*before, now)[-MAX_FAILED_AN_HOUR:])
        changed[name] = replace(one, until=max(now + pause, one.soonest))
    return changed


def hurried(failures: Mapping[str, Failure], now: float) -> dict[str, Failure]:
    """Return ``failures`` after somebody asked for another attempt: as soon as may be."""
    return {
        name: replace(one, until=min(one.until, max(now, one.soonest)))
        for name, one in failures.items()
    }


def put_right(
    failures: Mapping[str, Failure], names: Sequence[str], now: float
) -> dict[str, Failure]:
    """Return ``failures`` after ``names`` were validated."""
    return {
        name: replace(one, until=0.0) if name in names else one
        for name, one in failures.items()
        if name not in names or one.last + COUNTED_SECONDS > now
    }


def is_open(failures: Mapping[str, Failure]) -> bool:
    """Return whether any of the names could not be validated since."""
    return any(one.until for one in failures.values())


def blamed(names: Sequence[str], text: str) -> tuple[str, ...]:
    """Return which of ``names`` an error speaks of that names none in a field of its own."""
    words = {word.strip("\"'.,:;()[]").lower() for word in text.split()}
    return tuple(name for name in names if name in words) or tuple(names)
