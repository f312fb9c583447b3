"""How often Python looks for reference cycles.

Its own thresholds are for programs that leave many. A connection and its exchanges leave none: they
end by taking apart what held each other. Looking for some takes time all the same, tens of
milliseconds whenever it comes to the 100,000 objects that live as long as the process.
"""

from __future__ import annotations

import gc
from typing import Final

# Containers made and not freed since the last look at the youngest: 700 is Python's. 10,000 are a
# few MB at most, and looked through in a millisecond.
_YOUNGEST: Final = 10_000
# Looks at one generation until the next older is looked at as well: Python's 10, for both.
_OLDER: Final = 10


def settle() -> None:
    """Called once, when everything has been started: what is there now is there to stay, and is
    not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNGEST, _OLDER, _OLDER)
