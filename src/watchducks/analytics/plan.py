"""What the log store's tables are made for: the servers, and what they can do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from watchducks.stores.binding import bind
from watchducks.stores.interfaces import Cluster

Version = tuple[int, int]

# How many tokens a table remembers: at one segment in five seconds from each of ten hosts these
# are 500 s, much longer than an insert in doubt waits for its second try.
DEDUPLICATION_WINDOW: Final = 1000
# In a cluster each of them is a node in ZooKeeper. With ten hosts' segments of an hour and a half
# this is longer than an insert in doubt waits for a server; newer ones do the same by themselves.
REPLICATED_WINDOW: Final = 10_000

# First versions that have a thing. Each was in use some releases earlier, as an experiment.
HAS_CODECS: Final = (20, 1)
HAS_TTL: Final = (20, 1)
HAS_DEDUPLICATION: Final = (22, 3)  # insert_deduplication_token on plain MergeTree


@dataclass(frozen=True, slots=True)
class Plan:
    """What the tables are made for.

    :ivar version: of the server, or of the oldest one.
    :ivar raw_days: how long rows of single requests are kept.
    :ivar cluster: where the tables are those of several servers; None: there is one.
    """

    version: Version
    raw_days: int
    cluster: Cluster | None = None

    def table(
        self,
        name: str,
        columns: str,
        ordered: str,
        *,
        days: int | None = None,
        ages_by: str = "time",
        shard_by: str = "0",
        deduplicates: bool = True,
        together: int | None = None,
    ) -> list[str]:
        """Return what makes a table.

        In a cluster it is two: where each server has its replica, and above it, under the name by
        which it is read and written, what leads to all of them.

        :param columns: as SQL, without brackets.
        :param ordered: "PARTITION BY ... ORDER BY ...".
        :param days: how long rows live; None: for ever. :param ages_by: from when on, a column.
        :param shard_by: which rows lie together, as an SQL number: a block of rows with the same
            one is inserted as a whole or not at all, and a second time in the same place. "0": all
            of the table lies in one shard.
        :param deduplicates: a block that came before is not inserted again: one with the same
            token, or where none is known, and the tables are a cluster's, with the same rows.
        :param together: how many rows are read at least, for one; None: 8192, the server's number.
        """
        end = f" {ordered}{self._end(days, ages_by, together, deduplicates=deduplicates)}"
        if self.cluster is None:
            return [f"CREATE TABLE IF NOT EXISTS {name} ({columns}) ENGINE = MergeTree{end}"]
        cluster, database = self.cluster.name, self.cluster.database
        rows = rows_of(name, self.cluster)
        # ZooKeeper may serve other clusters and databases as well.
        path = f"/clickhouse/tables/{cluster}/{{shard}}/{database}/{name}"
        return [
            f"CREATE TABLE IF NOT EXISTS {rows} ({columns})"
            f" ENGINE = ReplicatedMergeTree({_text(path)}, '{{replica}}'){end}",
            f"CREATE TABLE IF NOT EXISTS {name} AS {rows} ENGINE ="
            f" Distributed({_text(cluster)}, {_text(database)}, {rows}, {shard_by})",
        ]

    @property
    def tells_blocks_apart(self) -> bool:
        """Whether blocks with the same rows, but different tokens, are different blocks."""
        return self.cluster is None or self.version >= HAS_DEDUPLICATION

    def codec(self, what: str) -> str:
        """Return how a column is compressed, where that can be said."""
        return f" CODEC({what})" if self.version >= HAS_CODECS else ""

    def _end(
        self, days: int | None, ages_by: str, together: int | None, *, deduplicates: bool
    ) -> str:
        ttl, settings = "", []
        if together is not None:
            settings.append(f"index_granularity = {together}")
        if days is not None and self.version >= HAS_TTL:
            ttl = f" TTL {ttl_of(days, ages_by)}"
            # A part whose rows are all too old goes as a file; none is written again for some.
            settings.append("ttl_only_drop_parts = 1")
        if self.cluster is not None:
            window = REPLICATED_WINDOW if deduplicates else 0
            settings.append(f"replicated_deduplication_window = {window}")
        elif deduplicates and self.version >= HAS_DEDUPLICATION:
            settings.append(f"non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}")
        return ttl + (f" SETTINGS {', '.join(settings)}" if settings else "")


def rows_of(name: str, cluster: Cluster | None) -> str:
    """Return the table that has a server's own rows of the table ``name``: what is altered, and
    what system tables tell of."""
    return name if cluster is None else f"{name}_local"


def ttl_of(days: int, column: str) -> str:
    """Return the TTL, in the words in which the server shows it."""
    return f"{column} + toIntervalDay({days})"


def _text(value: str) -> str:
    return bind("%(value)s", {"value": value})
