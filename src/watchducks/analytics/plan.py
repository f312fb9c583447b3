"""What the log store's tables are made for: the server's version, and what it can do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Version = tuple[int, int]

# How many tokens a table remembers: at one segment in five seconds from each of ten hosts these
# are 500 s, much longer than an insert in doubt waits for its second try.
DEDUPLICATION_WINDOW: Final = 1000

# First versions that have a thing. Each was in use some releases earlier, as an experiment.
HAS_CODECS: Final = (20, 1)
HAS_TTL: Final = (20, 1)
HAS_DEDUPLICATION: Final = (22, 3)  # insert_deduplication_token on plain MergeTree


@dataclass(frozen=True, slots=True)
class Plan:
    """What the tables are made for.

    :ivar version: of the server.
    :ivar raw_days: how long rows of single requests are kept.
    """

    version: Version
    raw_days: int

    def codec(self, what: str) -> str:
        """Return how a column is compressed, where that can be said."""
        return f" CODEC({what})" if self.version >= HAS_CODECS else ""

    def end(
        self, days: int | None = None, column: str = "time", *, deduplicates: bool = True
    ) -> str:
        """Return the end of a CREATE TABLE.

        :param days: how long rows live; None: for ever.
        :param column: from when on.
        :param deduplicates: a block whose token came before is not inserted again.
        """
        ttl, settings = "", []
        if days is not None and self.version >= HAS_TTL:
            ttl = f" TTL {ttl_of(days, column)}"
            # A part whose rows are all too old goes as a file; none is written again for some.
            settings.append("ttl_only_drop_parts = 1")
        if deduplicates and self.version >= HAS_DEDUPLICATION:
            settings.append(f"non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}")
        return ttl + (f" SETTINGS {', '.join(settings)}" if settings else "")


def ttl_of(days: int, column: str) -> str:
    """Return the TTL, in the words in which the server shows it."""
    return f"{column} + toIntervalDay({days})"
