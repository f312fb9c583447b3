"""How often the parts that only look now and then do so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from watchducks.certificates.plan import FALLBACK_SECONDS, LEASE_SECONDS, TURN_SECONDS
from watchducks.lookups.missing import INTERVAL_SECONDS
from watchducks.model.cutover import DRILL_SECONDS
from watchducks.nameserver.misses import AGAIN_SECONDS
from watchducks.notices.crier import Rhythm
from watchducks.registry.parents import LOOK_SECONDS


@dataclass(frozen=True, slots=True)
class Pace:
    """What an appliance runs at. No key of the configuration leads here: only who watches it at
    work, and has no ten minutes, gives it another one.

    :ivar parents_seconds: between two looks at what the parents of zones have done.
    :ivar missing_seconds: between two turns of asking old name servers for missing names.
    :ivar again_seconds: after which a missing name that is asked for again counts once more.
    :ivar turn_seconds: between two looks at which certificates are due.
    :ivar lease_seconds: for which one host alone has certificates made, unless it says so again.
    :ivar notices: of what owners are told.
    :ivar fallback_seconds: after which a second certificate authority stands in for the first.
    :ivar drill_seconds: for which a drill leads to the origin.
    """

    parents_seconds: float = LOOK_SECONDS
    missing_seconds: float = INTERVAL_SECONDS
    again_seconds: float = AGAIN_SECONDS
    turn_seconds: float = TURN_SECONDS
    lease_seconds: int = LEASE_SECONDS
    fallback_seconds: float = FALLBACK_SECONDS
    notices: Rhythm = Rhythm()
    drill_seconds: int = DRILL_SECONDS


USUAL: Final = Pace()
# What it is called on the board that edges read.
EDGES_PACE: Final = "pace"
