"""Prospects: what would become of a site that somebody is about to register, as far as can be seen.

Nothing is promised, and nothing is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from watchducks.model.scans import Note, Scan

# What a server says that does not know a domain, as often as not.
STRANGERS_STATUS: Final = frozenset({404, 410, 421})

# Why an origin could not be asked at all.
UNKNOWN: Final = Note("origin-unknown", "{name} could not be looked up: {reason}.")
NOWHERE: Final = Note("origin-name", "{name} has no address that visitors can reach.")


@dataclass(frozen=True, slots=True)
class Reached:
    """Whether a server answers for a domain, asked one way.

    :ivar status: what it answered; None: nothing.
    :ivar failure: why it did not answer. :ivar trouble: what is wrong with its certificate.
    """

    scheme: Literal["http", "https"]
    port: int
    status: int | None = None
    failure: Note | None = None
    trouble: Note | None = None

    @property
    def knows_domain(self) -> bool:
        """Whether it seems to have something under this domain."""
        return self.status is not None and self.status not in STRANGERS_STATUS


@dataclass(frozen=True, slots=True)
class Prospect:
    """What was found.

    :ivar reached: the origin, each way that visitors would be carried to it.
    :ivar nowhere: why it could not be asked at all. :ivar scan: the present DNS of the zone.
    """

    zone: str
    reached: tuple[Reached, ...]
    nowhere: Note | None
    scan: Scan
