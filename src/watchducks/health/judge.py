"""Hysteresis: from raw probe results to a verdict. Pure.

The rules:

* ``down_after`` failures in a row turn healthy into down; ``up_after`` successes in a row turn down
  into healthy. One result in line with the verdict forgets the contrary ones before it.
* Nothing else changes a verdict: time does not, and a missing result does not.

=========  ========  =====================  =======================================
verdict    result    contrary results then  new verdict
=========  ========  =====================  =======================================
healthy    success   any                    healthy, 0 contrary
healthy    failure   < down_after - 1       healthy, one contrary more
healthy    failure   = down_after - 1       **down**, 0 contrary
down       failure   any                    down, 0 contrary
down       success   < up_after - 1         down, one contrary more
down       success   = up_after - 1         **healthy**, 0 contrary
=========  ========  =====================  =======================================

At the start a proxy is *presumed healthy*. The other choice, "down until proven", would send every
visitor of every site round the proxy whenever a name server restarts, which happens far more often
than a proxy dying in the same moment; and what caches have learned then lasts for a TTL. The price,
a dead proxy being answered until its first ``down_after`` failures, is kept small by the prober,
which runs these first probes in quick succession.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """What the judge knows of one proxy.

    :ivar contrary: how many results in a row, up to the last, spoke against ``healthy``.
    """

    healthy: bool = True
    contrary: int = 0


def judge(standing: Standing, *, success: bool, down_after: int, up_after: int) -> Standing:
    """Return the standing after one more result.

    :param down_after: failures in a row for "down", at least 1.
    :param up_after: successes in a row for "healthy", at least 1.
    """
    if success == standing.healthy:
        return Standing(standing.healthy)
    contrary = standing.contrary + 1
    if contrary >= (down_after if standing.healthy else up_after):
        return Standing(success)
    return Standing(standing.healthy, contrary)
