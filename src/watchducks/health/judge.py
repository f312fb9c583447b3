"""Hysteresis and flap damping: from raw probe results to a verdict. Pure.

The rules:

* ``down_after`` failures in a row turn healthy into down; ``up_after`` successes in a row turn down
  into healthy. One result in line with the verdict forgets the contrary ones before it.
* A proxy that went down more than once within :data:`FLAP_SECONDS` needs twice as many successes
  for each time before the last, up to :data:`MAX_DAMPING` times as many: one that keeps falling
  over must not take the visitors along each time.
* Nothing else changes a verdict: time does not, and a missing result does not.

=========  ========  =====================  =======================================
verdict    result    contrary results then  new verdict
=========  ========  =====================  =======================================
healthy    success   any                    healthy, 0 contrary
healthy    failure   < down_after - 1       healthy, one contrary more
healthy    failure   = down_after - 1       **down**, 0 contrary
down       failure   any                    down, 0 contrary
down       success   < needed - 1           down, one contrary more
down       success   = needed - 1           **healthy**, 0 contrary
=========  ========  =====================  =======================================

At the start a proxy of which nothing is remembered is *presumed healthy*. The other choice, "down
until proven", would send every visitor of every site round the proxy whenever a name server starts,
which happens far more often than a proxy dying in the same moment; and what caches have learned
then lasts for a TTL. The price, a dead proxy being answered until its first ``down_after``
failures, is kept small by the prober, which runs these first probes in quick succession.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# A proxy that is restarted by its supervisor over and over is back within a minute each time; ten
# minutes see it for what it is, and an upgrade of yesterday does not count against it.
FLAP_SECONDS: Final = 600.0
# With the defaults (5 successes, 2 s apart) a flapping proxy has to stay up for 80 s.
MAX_DAMPING: Final = 8


@dataclass(frozen=True, slots=True)
class Standing:
    """What the judge knows of one proxy.

    :ivar contrary: how many results in a row, up to the last, spoke against ``healthy``.
    :ivar downs: when it went down lately, POSIX seconds, the last one last.
    """

    healthy: bool = True
    contrary: int = 0
    downs: tuple[float, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether the verdict may be about to change."""
        return self.contrary > 0


def judge(
    standing: Standing, *, success: bool, now: float, down_after: int, up_after: int
) -> Standing:
    """Return the standing after one more result.

    :param now: POSIX seconds.
    :param down_after: failures in a row for "down", at least 1.
    :param up_after: successes in a row for "healthy" without damping, at least 1.
    """
    if success == standing.healthy:
        return Standing(standing.healthy, 0, standing.downs)
    contrary = standing.contrary + 1
    if standing.healthy:
        if contrary < down_after:
            return Standing(standing.healthy, contrary, standing.downs)
        recent = tuple(when for when in standing.downs if now - when < FLAP_SECONDS)
        return Standing(healthy=False, downs=(*recent, now)[-MAX_DAMPING:])
    if contrary < up_after * damping(standing):
        return Standing(standing.healthy, contrary, standing.downs)
    return Standing(healthy=True, downs=standing.downs)


def damping(standing: Standing) -> int:
    """Return how many times as many successes a proxy that is down needs."""
    return min(1 << max(0, len(standing.downs) - 1), MAX_DAMPING)
