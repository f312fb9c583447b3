"""What the fields of a request say for its row. Pure rules.

Only what cannot be found out later: who asks, and what for, is worked out from the row when it is
shipped (:mod:`watchducks.journal.enrich`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from watchducks.model.rows import ASKS_ASSET, ASKS_OTHER, ASKS_PAGE, NO_TRACKING

_GPC: Final = b"sec-gpc"
_DNT: Final = b"dnt"
_DESTINATION: Final = b"sec-fetch-dest"
# The fields of a request that are asked here, lower-case.
READ_FOR_TRAITS: Final = frozenset({_GPC, _DNT, _DESTINATION})

# Fetch Metadata: "document" is what the address bar shows, not a frame within it.
_ASKED_FOR: Final = {
    b"document": ASKS_PAGE,
    **dict.fromkeys(
        b"audio font image manifest paintworklet script style track video xslt".split(), ASKS_ASSET
    ),
}


def traits_of_request(found: Mapping[bytes, Sequence[bytes]]) -> int:
    """Return the traits that a request's fields (of :data:`READ_FOR_TRAITS`, lower-case) say."""
    traits = 0
    if found.get(_GPC, (b"",))[-1].strip() == b"1" or found.get(_DNT, (b"",))[-1].strip() == b"1":
        traits = NO_TRACKING
    destination = found.get(_DESTINATION, (b"",))[-1].strip()
    if destination:
        traits |= _ASKED_FOR.get(destination, ASKS_OTHER)
    return traits
