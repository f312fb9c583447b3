"""A log store whose time passes as the test wants, with hosts that make its roll-ups."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from twisted.internet import reactor

from watchducks.analytics.ledger import TABLE
from watchducks.stores.interfaces import LogStore, Value

REACTOR: Any = reactor


Around = Callable[[str, Callable[[], Awaitable[None]]], Awaitable[None]]


def hours(now: float) -> Any:
    """Return a clock that whoever waits puts forward, at once. :param now: POSIX seconds."""
    return _Hours(now)


class _Hours:
    def __init__(self, now: float) -> None:
        self.now = now

    def seconds(self) -> float:
        return self.now

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kw: Any) -> Any:
        until = self.now + delay

        def later() -> None:
            self.now = max(self.now, until)
            call(*args, **kw)

        return REACTOR.callLater(0, later)


def at_any_time(store: LogStore, clock: Any, around: Around | None = None) -> Any:
    """Return the store with the clock's time for ``now()``, in what rows are rolled up by.

    :param around: takes part in each statement: gets its text and what runs it, and may raise.
    """
    return _AtAnyTime(store, clock, around)


class _AtAnyTime:
    def __init__(self, store: LogStore, clock: Any, around: Around | None) -> None:
        self.store = store
        self.clock = clock
        self._around = around or _just

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    @property
    def servers(self) -> Sequence[_AtAnyTime]:
        return (self,)

    async def shards(self) -> Sequence[_AtAnyTime]:
        return (self,)

    def _timed(self, sql: str) -> str:
        now = f"toDateTime({int(self.clock.now)})"
        if sql.startswith(f"INSERT INTO {TABLE} (kind, day, made)"):
            head, tail = sql.split(")", 1)
            first, rest = tail.split(" FROM ", 1)
            return f"{head}, at){first}, {now} FROM {rest}"
        if sql.startswith("CREATE"):
            return sql
        return sql.replace("now()", now)

    async def execute(self, statement: str) -> None:
        await self._around(statement, lambda: self.store.execute(self._timed(statement)))

    async def query(
        self, sql: str, parameters: Mapping[str, Value | Sequence[Value]] | None = None
    ) -> list[tuple[Value, ...]]:
        found: list[tuple[Value, ...]] = []

        async def ask() -> None:
            found.extend(await self.store.query(self._timed(sql), parameters))

        await self._around(sql, ask)
        return found

    async def insert(
        self, table: str, columns: Sequence[str], data: Sequence[Sequence[Value]], token: str
    ) -> None:
        now = [int(self.clock.now)] * len(data[0])
        name = {TABLE: "at", "requests": "shipped"}.get(table)
        if name is not None:
            columns, data = (*columns, name), [*data, now]
        await self._around(
            f"INSERT INTO {table}", lambda: self.store.insert(table, columns, data, token)
        )


async def _just(_: str, run: Callable[[], Awaitable[None]]) -> None:
    await run()
