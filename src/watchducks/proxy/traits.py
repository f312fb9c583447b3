"""What the fields of a request and of its answer say for its row. Pure rules.

Only what cannot be found out later: who asks, and what for, is worked out from the row when it is
shipped (:mod:`watchducks.journal.enrich`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from watchducks.model.rows import (
    ASKS_ASSET,
    ASKS_OTHER,
    ASKS_PAGE,
    IS_ASSET,
    IS_OTHER,
    IS_PAGE,
    NO_TRACKING,
)

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
_PAGES: Final = frozenset({b"text/html", b"application/xhtml+xml"})
_ASSETS: Final = frozenset(
    b"text/css text/javascript application/javascript application/x-javascript"
    b" application/wasm application/manifest+json application/vnd.ms-fontobject".split()
)
_ASSET_KINDS: Final = frozenset({b"image", b"font", b"audio", b"video"})
# Spellings of Content-Type that are remembered, and how long they may be: an origin sends a few;
# the bounds hold against one that invents new ones.
_KEPT_TYPES: Final = 256
_KEPT_TYPE_BYTES: Final = 64


def traits_of_request(found: Mapping[bytes, Sequence[bytes]]) -> int:
    """Return the traits that a request's fields (of :data:`READ_FOR_TRAITS`, lower-case) say."""
    traits = 0
    if found.get(_GPC, (b"",))[-1].strip() == b"1" or found.get(_DNT, (b"",))[-1].strip() == b"1":
        traits = NO_TRACKING
    destination = found.get(_DESTINATION, (b"",))[-1].strip()
    if destination:
        traits |= _ASKED_FOR.get(destination, ASKS_OTHER)
    return traits


class _ContentTraits(dict[bytes, int]):
    """The traits that a Content-Type says: ``traits[value]``."""

    def __missing__(self, value: bytes) -> int:
        essence = value.partition(b";")[0].strip().lower()
        if essence in _PAGES:
            traits = IS_PAGE
        elif essence in _ASSETS or essence.partition(b"/")[0] in _ASSET_KINDS:
            traits = IS_ASSET
        else:
            traits = IS_OTHER if essence else 0
        if len(self) < _KEPT_TYPES and len(value) <= _KEPT_TYPE_BYTES:
            self[value] = traits
        return traits


CONTENT_TRAITS: Final = _ContentTraits()
