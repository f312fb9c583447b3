"""What the shipper's thread does with a row: read, enriched and packed for the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.goals import OURS, AtMost
from bench.report import Figure, markdown
from watchducks.journal.assets import AssetWatch
from watchducks.journal.enrich import days_of, enrich
from watchducks.journal.records import decode
from watchducks.journal.sources import Knowledge
from watchducks.stores.blocks import native

GOAL_US: Final = 2.0
_US: Final = 1e6


class _Shipper:
    """What a running one has: it knows most visitors from the segments before."""

    def __init__(self) -> None:
        self._knowledge = Knowledge()
        self._watch = AssetWatch()
        self._runs = 0

    def cost(self, shipments: Sequence[Sequence[Path]]) -> float:
        """Return the microseconds of CPU that a row takes."""
        self._runs += 1
        began, rows = time.process_time(), 0
        for files in shipments:
            segments = [(f"{file.stem}-{self._runs}", decode(file.read_bytes())) for file in files]
            keys = dict.fromkeys({day for _, one in segments for day in days_of(one)}, bytes(32))
            for batch in enrich(segments, keys, self._knowledge, self._watch):
                native(batch.block)
                rows += batch.rows
        return (time.process_time() - began) / rows * _US


def preparing_table(spool: Path, all_new: Path, runs: int) -> str:
    """Return the table.

    :param spool: segments of visitors who come again. :param all_new: segments in which each row
        has an address and a page that none had before.
    """
    known, files = _Shipper(), sorted(spool.glob("*.segment"))
    known.cost([files])  # makes the visitors known
    alone: list[float] = []
    together: list[float] = []
    new: list[float] = []
    for _ in range(runs):
        alone.append(known.cost([[file] for file in files]))
        together.append(known.cost([files]))
        new.append(_Shipper().cost([[file] for file in sorted(all_new.glob("*.segment"))]))
    return markdown(
        "A row prepared for the store: read, enriched and packed",
        [OURS],
        [
            Figure("segment by segment", "us of CPU", {OURS: alone}, (AtMost(GOAL_US, "us"),)),
            Figure("ten segments at once", "us of CPU", {OURS: together}, (AtMost(GOAL_US, "us"),)),
            Figure("address and page are new", "us of CPU", {OURS: new}),
        ],
    )
