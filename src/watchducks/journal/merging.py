"""Several segments as one: each text once, and the rows of all of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar

from watchducks.journal.records import REFERRER, SOURCE, TARGET, Code, Decoded, Source, column
from watchducks.stores.blocks import pick

T = TypeVar("T", bound=Hashable)


class Merged(NamedTuple):
    """Rows of several segments.

    :ivar rows: all of them, as records.py packs them; their own places of texts are their
        segments', and of no use here.
    :ivar by_source: for each row the place of its source in ``sources``.
    """

    sources: list[Source]
    targets: list[str]
    referrers: list[str]
    rows: bytes
    by_source: Sequence[int]
    by_target: Sequence[int]
    by_referrer: Sequence[int]


def merge(parts: Sequence[Decoded]) -> Merged:
    """Return the rows of all parts, in their order. There is at least one."""
    sources, by_source = _merge(parts, SOURCE, lambda part: part.sources)
    targets, by_target = _merge(parts, TARGET, lambda part: part.targets)
    referrers, by_referrer = _merge(parts, REFERRER, lambda part: part.referrers)
    rows = b"".join([part.rows for part in parts]) if len(parts) > 1 else parts[0].rows
    return Merged(sources, targets, referrers, rows, by_source, by_target, by_referrer)


def _merge(
    parts: Sequence[Decoded], place: tuple[Code, int], texts_of: Callable[[Decoded], list[T]]
) -> tuple[list[T], Sequence[int]]:
    """Return the different texts, and for each row which one it has."""
    if len(parts) == 1:
        return texts_of(parts[0]), column(parts[0].rows, *place).tolist()
    known: dict[T, int] = {}
    by_row: list[int] = []
    for part in parts:
        places = [known.setdefault(text, len(known)) for text in texts_of(part)]
        by_row += pick(places, column(part.rows, *place))
    return list(known), by_row
