"""What a Content-Type says that an answer is: a page, a part of one, or data."""

from __future__ import annotations

from typing import Final

from watchducks.model.rows import IS_ASSET, IS_OTHER, IS_PAGE

_PAGES: Final = frozenset({b"text/html", b"application/xhtml+xml"})
_ASSETS: Final = frozenset(
    b"text/css text/javascript application/javascript application/x-javascript"
    b" application/wasm application/manifest+json application/vnd.ms-fontobject".split()
)
_ASSET_KINDS: Final = frozenset({b"image", b"font", b"audio", b"video"})
# Spellings that are remembered, and how long they may be: an origin sends a few; the bounds hold
# against one that invents new ones.
_KEPT_TYPES: Final = 256
_KEPT_TYPE_BYTES: Final = 64


class _ContentTraits(dict[bytes, int]):
    """The traits (model/rows.py) that a Content-Type says: ``traits[value]``; of b"", none."""

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
