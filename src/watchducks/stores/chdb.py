"""chDB, the embedded ClickHouse, in a child process of its own.

It locks its directory to one process, holds some 300 MB and is native code: a crash of it must not
take the proxy along. When the child dies, the calls it had not answered fail with StoreUnavailable
and it is started again, after a pause that grows while it keeps dying.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import (
    IDelayedCall,
    IProcessTransport,
    IReactorProcess,
    IReactorTime,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from watchducks.background import Overloaded, StartupError, ThreadPool
from watchducks.stores.binding import bind
from watchducks.stores.blocks import Block, native
from watchducks.stores.chdb_frames import (
    GREETING_ID,
    INSERT,
    NO_PACKAGE,
    RESULT,
    STATEMENT,
    FrameError,
    Frames,
    frame,
    insert_payload,
    native_block,
)
from watchducks.stores.chdb_server import IN, OUT, STATEMENT_SECONDS
from watchducks.stores.clickhouse_errors import one_line, store_error
from watchducks.stores.interfaces import StoreRefused, StoreUnavailable, Value

P = ParamSpec("P")
T = TypeVar("T")

# Importing chDB takes two seconds, eight more while a predecessor lets go of the directory; the
# rest is for a slow machine.
START_SECONDS = 30.0

# The child ends a statement by itself. When nothing at all comes for so long while it has work, it
# hangs, and is killed.
SILENCE_SECONDS = STATEMENT_SECONDS + 10.0

# No caller waits longer than this, however many others are before it.
CALL_SECONDS = 60.0

# More calls in line would not be answered in useful time: a second's worth of a busy console.
MAX_PENDING = 200

FIRST_RESTART_SECONDS = 0.5
LONGEST_RESTART_SECONDS = 30.0

# For statements under way, then for the child's own end; then it is killed.
STOP_SECONDS = 5.0
EXIT_SECONDS = 8.0

# What native code prints goes to our log, in pieces of at most this size.
OUTPUT_BYTES = 2000

_CODE = re.compile(r"Code: (\d+)\.")


class ChdbStore:
    """A LogStore in a directory of this machine, made with mode 0700."""

    _log = Logger()

    def __init__(
        self, directory: Path, pool: ThreadPool, *, reactor: IReactorProcess, clock: IReactorTime
    ) -> None:
        """:param pool: where columns are packed and results unpacked; the caller's."""
        self._directory = directory
        self._pool = pool
        self._reactor = reactor
        self._clock = clock
        self._ids = itertools.count(GREETING_ID + 1)
        self._child: _Child | None = None
        self._version: tuple[int, int] | None = None
        self._pending: dict[int, Deferred[bytes]] = {}
        self._starting: list[Deferred[None]] = []
        self._idle: list[Deferred[None]] = []
        self._ended: list[Deferred[None]] = []
        self._restart: IDelayedCall | None = None
        self._restart_seconds = FIRST_RESTART_SECONDS
        self._watchdog: IDelayedCall | None = None
        self._failure = "it was not started"
        self._stopping = False

    @property
    def _name(self) -> str:
        return f"chDB in {self._directory}"

    @property
    def version(self) -> tuple[int, int]:
        """The version of chDB's ClickHouse. :raises StoreUnavailable: never reached so far."""
        if self._version is None:
            raise StoreUnavailable(f"{self._name}: {self._failure}")
        return self._version

    @property
    def cluster(self) -> None:
        """See LogStore."""

    @property
    def servers(self) -> Sequence[ChdbStore]:
        """See LogStore."""
        return (self,)

    async def shards(self) -> Sequence[ChdbStore]:
        """See LogStore."""
        return (self,)

    async def settled(self) -> None:
        """See LogStore: what was acknowledged is there."""

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        return None if self._child is None else self._child.pid

    async def start(self) -> None:
        """See LogStore; may be called again, and then only waits until the child answers.

        :raises StartupError: chDB is not installed.
        """
        self._stopping = False
        if self._child is not None and self._child.greeted:
            return
        if self._child is None and self._restart is None:
            self._spawn()
        started: Deferred[None] = Deferred()
        self._starting.append(started)
        _ = started.addTimeout(START_SECONDS, self._clock)
        try:
            await started
        except DeferredTimeout:
            raise StoreUnavailable(f"{self._name}: does not start") from None
        finally:
            if started in self._starting:
                self._starting.remove(started)

    async def stop(self) -> None:
        """See LogStore; a statement that takes longer than five seconds is given up."""
        self._stopping = True
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        child = self._child
        if child is None:
            return
        if self._pending:
            await self._wait(self._idle, STOP_SECONDS)
        child.close()
        if not await self._wait(self._ended, EXIT_SECONDS):
            child.kill()
            await self._wait(self._ended, EXIT_SECONDS)

    async def _wait(self, waiters: list[Deferred[None]], seconds: float) -> bool:
        """Wait for an event; return whether it came in time."""
        event: Deferred[None] = Deferred()
        waiters.append(event)
        _ = event.addTimeout(seconds, self._clock)
        try:
            await event
        except DeferredTimeout:
            waiters.remove(event)
            return False
        return True

    async def execute(self, statement: str) -> None:
        """See LogStore."""
        await self._call(STATEMENT, statement.encode())

    async def query(
        self, sql: str, parameters: Mapping[str, Value | Sequence[Value]] | None = None
    ) -> list[tuple[Value, ...]]:
        """See LogStore."""
        result = await self._call(STATEMENT, bind(sql, parameters).encode())
        return await self._in_thread(_rows, result)

    async def insert(
        self, table: str, columns: Sequence[str], data: Sequence[Sequence[Value]], token: str
    ) -> None:
        """See LogStore."""
        await self._insert(table, columns, token, native_block, columns, data)

    async def insert_block(self, table: str, block: Block, token: str) -> None:
        """See LogStore."""
        await self._insert(table, tuple(block.columns), token, native, block)

    async def _insert(
        self,
        table: str,
        columns: Sequence[str],
        token: str,
        pack: Callable[P, bytes],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Insert what ``pack`` returns, which is called in a thread."""
        statement = bind(
            f"INSERT INTO {table} ({', '.join(columns)})"
            " SETTINGS insert_deduplication_token = %(token)s",
            {"token": token},
        )
        try:
            block = await self._in_thread(pack, *args, **kwargs)
        except (OverflowError, TypeError, ValueError) as error:
            raise StoreRefused(f"{self._name}: {error}") from None
        await self._call(INSERT, *insert_payload(statement, block))

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self._pool.run(work, *args, **kwargs)
        except Overloaded as error:
            raise StoreUnavailable(f"{self._name}: {error}") from None

    async def _call(self, kind: int, *payload: bytes) -> bytes:
        child = self._child
        if child is None or not child.greeted or self._stopping:
            raise StoreUnavailable(f"{self._name}: {self._failure}")
        if len(self._pending) >= MAX_PENDING:
            raise StoreUnavailable(f"{self._name}: more than {MAX_PENDING} statements wait")
        id_ = next(self._ids)
        answer: Deferred[bytes] = Deferred()
        self._pending[id_] = answer
        _ = answer.addTimeout(CALL_SECONDS, self._clock)
        if self._watchdog is None:
            self._watchdog = self._clock.callLater(SILENCE_SECONDS, self._silent)
        child.send(frame(id_, kind, *payload))
        try:
            return await answer
        except DeferredTimeout:
            raise StoreUnavailable(f"{self._name}: no answer in {CALL_SECONDS:g} s") from None

    # --- events of the child ------------------------------------------------------------------

    def _spawn(self) -> None:
        self._restart = None
        self._failure = "it is starting"
        self._child = _Child(self)
        transport = self._reactor.spawnProcess(
            self._child,
            sys.executable,
            [sys.executable, "-m", "watchducks.stores.chdb_server", str(self._directory)],
            env=dict(os.environ),
            childFDs={IN: "w", 1: "r", 2: "r", OUT: "r"},
        )
        self._child.pid = transport.pid

    def answered(self, child: _Child, id_: int, kind: int, payload: bytes) -> None:
        """The child said something."""
        if id_ == GREETING_ID:
            self._greeted(child, kind, payload)
            return
        self._restart_seconds = FIRST_RESTART_SECONDS
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        answer = self._pending.pop(id_, None)
        if self._pending:
            self._watchdog = self._clock.callLater(SILENCE_SECONDS, self._silent)
        else:
            _fire(self._idle)
        if answer is None or answer.called:
            return  # whoever asked does not wait any more
        if kind == RESULT:
            answer.callback(payload)
        else:
            text = payload.decode("utf-8", "replace")
            code = _CODE.search(text)
            answer.errback(store_error(self._name, int(code[1]) if code else 0, text))

    def _greeted(self, child: _Child, kind: int, payload: bytes) -> None:
        text = payload.decode("utf-8", "replace")
        if kind == RESULT:
            major, minor, *_ = text.strip().split(".")
            self._version = int(major), int(minor)
            child.greeted = True
            self._log.info(
                "{name} is ready, version {version}", name=self._name, version=text.strip()
            )
            _fire(self._starting)
        elif kind == NO_PACKAGE:
            self._failure = "the package chdb is not installed"
            self._stopping = True  # trying again would not help
            _fail(
                self._starting,
                StartupError(
                    "logs.url: chdb is not installed; run `pip install watchducks[embedded]`,"
                    " or use a ClickHouse server (clickhouse://...)"
                ),
            )
        else:
            self._failure = one_line(text)

    def ended(self, child: _Child, reason: str) -> None:
        """The child is dead and reaped."""
        if self._child is not child:
            return
        self._child = None
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        if child.greeted or self._failure == "it is starting":
            self._failure = f"its process ended ({reason})"
        error = StoreUnavailable(f"{self._name}: {self._failure}")
        pending, self._pending = self._pending, {}
        if not self._stopping:
            self._log.error("{error}; it is started again", error=str(error))
            self._restart = self._clock.callLater(self._restart_seconds, self._spawn)
            self._restart_seconds = min(self._restart_seconds * 2, LONGEST_RESTART_SECONDS)
        for answer in pending.values():
            if not answer.called:
                answer.errback(error)
        _fail(self._starting, error)
        _fire(self._idle)
        _fire(self._ended)

    def _silent(self) -> None:
        self._watchdog = None
        if self._child is not None:
            self._log.error("{name} hangs: it is killed", name=self._name)
            self._child.kill()


def _rows(result: bytes) -> list[tuple[Value, ...]]:
    """Unpack one JSON array a line. JSON has no NaN: an average of nothing comes as null."""
    rows = json.loads(b"[" + b",".join(result.splitlines()) + b"]")
    return [tuple(math.nan if value is None else value for value in row) for row in rows]


def _fire(waiters: list[Deferred[None]]) -> None:
    """Wake all who wait; each has a Deferred of its own."""
    ready = waiters[:]
    waiters.clear()
    for waiter in ready:
        waiter.callback(None)


def _fail(waiters: list[Deferred[None]], error: Exception) -> None:
    failing = waiters[:]
    waiters.clear()
    for waiter in failing:
        waiter.errback(error)


class _Child(ProcessProtocol):
    """One child: bytes to frames and back.

    :ivar greeted: chDB is open and takes statements.
    """

    _log = Logger()

    transport: IProcessTransport | None

    def __init__(self, store: ChdbStore) -> None:
        self._store = store
        self._frames = Frames()
        self.greeted = False
        self.pid: int | None = None

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.writeToChild(IN, data)

    def close(self) -> None:
        """Ask the child to end."""
        if self.transport is not None:
            self.transport.closeChildFD(IN)

    def kill(self) -> None:
        if self.transport is not None:
            with contextlib.suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD != OUT:
            text = data[:OUTPUT_BYTES].decode("utf-8", "replace").strip()
            self._log.warn("chDB: {text}", text=text)
            return
        try:
            for id_, kind, payload in self._frames.feed(data):
                self._store.answered(self, id_, kind, payload)
        except FrameError as error:
            self._log.error("chDB sent no frame of ours: {error}", error=str(error))
            self.kill()

    def processEnded(self, reason: Failure) -> None:
        self.transport = None
        self._store.ended(self, reason.getErrorMessage())
