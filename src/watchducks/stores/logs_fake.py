"""A LogStore in memory that fails when it is told to: for tests of those who use one.

It knows one question only, of which ``segments`` there are rows; everything else it answers with
nothing. The contract suite runs over it for what it does know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from watchducks.stores.blocks import Block
from watchducks.stores.interfaces import Cluster, StoreRefused, StoreUnavailable, Value


class FakeLogStore:
    """Keeps inserted rows; does not know deduplication tokens, like ClickHouse 18.16.

    :ivar rows: every inserted row as column -> value, in order.
    :ivar available: while False, every call raises StoreUnavailable.
    :ivar tokens: those of all inserts, refused and lost ones included.
    :ivar lose_inserts: this many inserts raise StoreUnavailable and do not take place.
    :ivar lose_acknowledgements: this many inserts take place and then raise StoreUnavailable.
    :ivar refuse: the tokens whose insert raises StoreRefused.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Value]] = []
        self.available = True
        self.tokens: list[str] = []
        self.lose_inserts = 0
        self.lose_acknowledgements = 0
        self.refuse: set[str] = set()

    async def start(self) -> None:
        """See LogStore."""
        self._require()

    async def stop(self) -> None:
        """See LogStore."""

    @property
    def version(self) -> tuple[int, int]:
        """See LogStore."""
        return 18, 16

    @property
    def cluster(self) -> Cluster | None:
        """See LogStore."""
        return None

    @property
    def servers(self) -> Sequence[FakeLogStore]:
        """See LogStore."""
        return (self,)

    async def shards(self) -> Sequence[FakeLogStore]:
        """See LogStore."""
        return (self,)

    async def settled(self) -> None:
        """See LogStore."""

    async def execute(self, statement: str) -> None:  # noqa: ARG002
        """Accept every statement, and do nothing."""
        self._require()

    async def query(
        self,
        sql: str,  # noqa: ARG002
        parameters: Mapping[str, Value | Sequence[Value]] | None = None,
    ) -> list[tuple[Value, ...]]:
        """Return those of the parameter ``segments`` of which there are rows."""
        self._require()
        wanted = () if parameters is None else parameters.get("segments", ())
        assert isinstance(wanted, Sequence)
        known = {row.get("segment") for row in self.rows}
        return [(segment,) for segment in wanted if segment in known]

    async def insert(
        self,
        table: str,  # noqa: ARG002
        columns: Sequence[str],
        data: Sequence[Sequence[Value]],
        token: str,
    ) -> None:
        """See LogStore."""
        self._insert(columns, data, token)

    async def insert_block(self, table: str, block: Block, token: str) -> None:  # noqa: ARG002
        """See LogStore."""
        columns = block.columns
        self._insert(tuple(columns), [column.values() for column in columns.values()], token)

    def _insert(self, columns: Sequence[str], data: Sequence[Sequence[Value]], token: str) -> None:
        self._require()
        self.tokens.append(token)
        if self.lose_inserts:
            self.lose_inserts -= 1
            raise StoreUnavailable("the fake store lost the insert")
        if token in self.refuse:
            raise StoreRefused(f"the fake store was told to refuse {token}")
        self.rows += [dict(zip(columns, row, strict=True)) for row in zip(*data, strict=True)]
        if self.lose_acknowledgements:
            self.lose_acknowledgements -= 1
            raise StoreUnavailable("the fake store lost the acknowledgement")

    def _require(self) -> None:
        if not self.available:
            raise StoreUnavailable("the fake store was told to be away")
