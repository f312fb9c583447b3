"""How often Python looks for reference cycles.

Its own thresholds are for programs that leave many. A visitor's connection by HTTP/1.1 and its
exchanges leave none: they end by taking apart what held each other. Looking for some takes time all
the same, tens of milliseconds whenever it comes to the 100,000 objects that live as long as the
process.

Some are left: by connections of HTTP/2, by errors with tracebacks, by SQLAlchemy. What of them is
found late is memory that grows for a long time after the start.
"""

from __future__ import annotations

import gc
from typing import Final

# Containers made and not freed since the last look at the youngest: 700 is Python's. 2,000 are a
# few hundred KB, and looked through in a fifth of a millisecond.
_YOUNGEST: Final = 2_000
# Looks at one generation until the next older is looked at as well. Python's 10 would leave what
# lived for some seconds (connections, exchanges that waited) for the better part of an hour: 30 MiB
# in a soak. The oldest has few objects, without those that are there to stay, and takes some
# milliseconds.
_OLDER: Final = 3


def settle() -> None:
    """Called once, when everything has been started: what is there now is there to stay, and is
    not looked at again."""
    gc.collect()
    gc.freeze()
    # Python looks at the oldest generation only when it has grown by a quarter since the last look,
    # which has now found it empty.
    gc.collect()
    gc.set_threshold(_YOUNGEST, _OLDER, _OLDER)
