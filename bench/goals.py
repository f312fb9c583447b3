"""Goals, and whether they are met. Pure.

A goal looks at the medians of one figure by server, and says where it stands: what is now, and how
far that is from the limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final, Protocol

OURS: Final = "WatchDucks"

# Server -> the values of all runs; a server that cannot do it is not there.
Values = Mapping[str, list[float]]


class Goal(Protocol):
    """What a figure should be."""

    def stand(self, values: Values) -> str:
        """Return the goal, what is now, and "PASS" or "short by ..."; for Markdown."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """At most (or at least) ``limit`` times what another server has."""

    limit: float
    over: str
    of: str = OURS
    at_least: bool = False

    def stand(self, values: Values) -> str:
        bound = "at least" if self.at_least else "at most"
        goal = f"{bound} {self.limit:g} x {self.over}"
        missing = _missing(values, self.of, self.over)
        if missing:
            return f"{goal}: {missing}"
        now = median(values[self.of]) / median(values[self.over])
        miss = self.limit / now - 1 if self.at_least else now / self.limit - 1
        return f"{goal}: {now:.2f} x, {_verdict(miss)}"


@dataclass(frozen=True, slots=True)
class Above:
    """At most ``limit`` more than another server has, in the figure's own unit."""

    limit: float
    over: str
    unit: str

    def stand(self, values: Values) -> str:
        goal = f"at most {self.limit:g} {self.unit} over {self.over}'s"
        missing = _missing(values, OURS, self.over)
        if missing:
            return f"{goal}: {missing}"
        now = median(values[OURS]) - median(values[self.over])
        return f"{goal}: {now:+.2f} {self.unit}, {_verdict(now / self.limit - 1)}"


@dataclass(frozen=True, slots=True)
class AtMost:
    """At most ``limit``, in the figure's own unit."""

    limit: float
    unit: str

    def stand(self, values: Values) -> str:
        goal = f"at most {self.limit:g} {self.unit}"
        missing = _missing(values, OURS)
        if missing:
            return f"{goal}: {missing}"
        now = median(values[OURS])
        return f"{goal}: {now:.1f} {self.unit}, {_verdict(now / self.limit - 1)}"


@dataclass(frozen=True, slots=True)
class AtLeast:
    """At least ``limit``, in the figure's own unit."""

    limit: float
    unit: str

    def stand(self, values: Values) -> str:
        goal = f"at least {self.limit:g} {self.unit}"
        missing = _missing(values, OURS)
        if missing:
            return f"{goal}: {missing}"
        now = median(values[OURS])
        return f"{goal}: {now:.0f} {self.unit}, {_verdict(self.limit / now - 1)}"


def _missing(values: Values, *servers: str) -> str:
    missing = [server for server in servers if not values.get(server)]
    return f"not yet ({', '.join(missing)})" if missing else ""


def _verdict(miss: float) -> str:
    """:param miss: how much of the limit is missing; not above 0 if it is met."""
    return "**PASS**" if miss <= 0 else f"**short by {miss:.0%}**"
