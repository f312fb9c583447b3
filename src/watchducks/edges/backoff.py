"""How soon an edge that died is replaced. Pure.

At once after a long life: whatever killed it was not its beginning. One that dies again and again
is replaced less and less often, and that is said once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# The first replacement follows so soon that visitors who lost their connection and try again find
# it there.
FIRST_SECONDS: Final = 0.1
# Then twice as long each time; half a minute is often enough to see that the fault is mended.
LONGEST_SECONDS: Final = 30.0
# Who lived so long has shown that he can.
LONG_LIFE_SECONDS: Final = 60.0
# Deaths in a row that are not chance any more.
KEEPS_DYING: Final = 3


@dataclass(frozen=True, slots=True)
class Backoff:
    """:ivar deaths: in a row, each after a short life."""

    deaths: int = 0

    def after(self, lived_seconds: float) -> Backoff:
        """Return what a death after so long leads to."""
        return Backoff(1 if lived_seconds >= LONG_LIFE_SECONDS else self.deaths + 1)

    @property
    def seconds(self) -> float:
        """How long to wait with the next."""
        # The exponent is bounded: nobody counts deaths to the end of the numbers.
        return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self.deaths - 1, 20))

    @property
    def keeps_dying(self) -> bool:
        return self.deaths >= KEEPS_DYING
