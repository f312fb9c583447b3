"""Which rows are pages, and which the parts of pages. Pure rules.

What the browser says it wants it for counts most (Fetch Metadata, which it sends over https), then
what the origin says it is (Content-Type), and where neither says anything, as with 304 over plain
http, how the path ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from watchducks.journal.records import QUERY_MARK, ROW, TRAITS
from watchducks.model.rows import (
    ASKS,
    ASKS_ASSET,
    ASKS_PAGE,
    IS,
    IS_ASSET,
    IS_OTHER,
    IS_PAGE,
)
from watchducks.stores.blocks import pick

OTHER: Final = 0
PAGE: Final = 1
ASSET: Final = 2
_UNSAID: Final = 3

# Where a row's traits lie; their upper byte is empty.
_TRAITS_AT: Final = 2 * TRAITS[1]
_PAGE_ENDINGS: Final = frozenset(
    ("", "html", "htm", "xhtml", "php", "asp", "aspx", "jsp", "jspx", "do", "cgi", "shtml")
)
_ASSET_ENDINGS: Final = frozenset(
    (
        *("css", "js", "mjs", "map", "wasm", "png", "jpg", "jpeg", "gif", "webp", "avif", "svg"),
        *("ico", "bmp", "woff", "woff2", "ttf", "otf", "eot", "mp3", "mp4", "webm", "ogg", "m4a"),
        *("webmanifest", "ts", "m3u8"),
    )
)
# Paths that are remembered; a site has some thousand.
_KEPT_PATHS: Final = 8192


def _kind_of_traits(traits: int) -> int:
    asks, is_ = traits & ASKS, traits & IS
    if asks == ASKS_PAGE:
        # A download, or a picture of its own, is no page either.
        return OTHER if is_ in (IS_ASSET, IS_OTHER) else PAGE
    if asks == ASKS_ASSET:
        return ASSET
    if asks:
        return OTHER
    return {IS_PAGE: PAGE, IS_ASSET: ASSET, IS_OTHER: OTHER}.get(is_, _UNSAID)


_KINDS: Final = bytes(map(_kind_of_traits, range(256)))
_IS_PAGE: Final = bytes(kind == PAGE for kind in range(256))
_IS_ASSET: Final = bytes(kind == ASSET for kind in range(256))
_ASKS: Final = bytes(traits & ASKS != 0 for traits in range(256))
# By the status, which has 16 bits.
_DONE: Final = bytes(200 <= status < 300 or status == 304 for status in range(1 << 16))


def kinds_of(rows: bytes, targets: Sequence[str], by_target: Sequence[int]) -> bytes:
    """Return for each row :data:`PAGE`, :data:`ASSET` or :data:`OTHER`.

    :param by_target: for each row the place of its target in ``targets``.
    """
    kinds = rows[_TRAITS_AT :: ROW.size].translate(_KINDS)
    unsaid = kinds.count(_UNSAID)
    if not unsaid:
        return kinds
    by_path = bytes(pick(list(map(kind_of_path, targets)), by_target))
    if unsaid == len(kinds):
        return by_path
    return bytes([k if k != _UNSAID else p for k, p in zip(kinds, by_path, strict=True)])


# Masks: for each row 1 if it is so, and 0 if it is not.


def page_mask(kinds: bytes) -> bytes:
    """Return which rows are pages."""
    return kinds.translate(_IS_PAGE)


def asset_mask(kinds: bytes) -> bytes:
    """Return which rows are parts of pages."""
    return kinds.translate(_IS_ASSET)


def asks_mask(rows: bytes) -> bytes:
    """Return whose browsers said what they want something for."""
    return rows[_TRAITS_AT :: ROW.size].translate(_ASKS)


def done_mask(statuses: Sequence[int]) -> bytes:
    """Return in which rows the visitor got what he asked for, or had it already."""
    return bytes(pick(_DONE, statuses))


@lru_cache(maxsize=_KEPT_PATHS)
def kind_of_path(target: str) -> int:
    """Return what a target is by its path's ending."""
    name = target.partition(QUERY_MARK)[0].rpartition("/")[2]
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    if ending in _ASSET_ENDINGS:
        return ASSET
    return PAGE if ending in _PAGE_ENDINGS else OTHER
