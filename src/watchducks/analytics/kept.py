"""Answers that are kept: in the shared cache, computed once for all who wait, refreshed ahead.

An answer is fresh for a time that depends on what it is about (:func:`fresh_seconds`), and beyond
that for as long as nothing in the log store has changed (:mod:`watchducks.analytics.pulse`). One
that is nearly over is given, and computed anew meanwhile. While the log store is away the last
answer is given, for up to a day, and :attr:`KeptAnswers.is_stale` says so.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.analytics.packing import pack, to_bytes, unpack
from watchducks.analytics.periods import HOUR, Period
from watchducks.analytics.pulse import LOOK_SECONDS, Pulse
from watchducks.background import Tasks, Turns
from watchducks.stores.interfaces import Cache, StoreUnavailable

T = TypeVar("T")

# What an answer about the present day is fresh for; see the pulse.
LIVE_SECONDS: Final = LOOK_SECONDS
# Of a week's or a month's points nobody sees a request more or less.
SLOW_SECONDS: Final = 15.0
# A period that is over may still get rows of a proxy that was cut off. They are doubted and hence
# seen at once where this process asks again; other answers are this much late.
PAST_SECONDS: Final = 600.0
# Rows come within this time in the ordinary course of things.
SETTLED_AFTER: Final = 2 * HOUR
# An answer that took long is fresh for this many times as long, within SLOW_SECONDS, so that a busy
# store is not kept busy by one page that stays open.
EFFORT: Final = 10
# Nothing has changed in the store: still, other parts of an answer than rows may have aged.
UNCHANGED_SECONDS: Final = 60.0
# When rows have come, all that is looked at is asked anew. One question is asked after the other,
# because each thread that is busy takes its share of the interpreter from visitors: with two at a
# time the slowest of a hundred of them waited 7 ms longer, with one 3; whether its own SELECTs went
# together made no difference. But one that takes so long is the store's work, and lets the next one
# go.
PLACE_SECONDS: Final = 1.0
# From this share of its freshness on an answer is computed anew before anybody has to wait for it.
AHEAD: Final = 0.7
# Answers that are kept in this process as they are, beside the cache, which has them as bytes: some
# tens a page, of a few kB each.
MOST_READ: Final = 2000
# While the store is away: yesterday's figures are better than none, older ones are not.
KEPT_SECONDS: Final = 86_400.0


def fresh_seconds(period: Period, now: float, corrected: Collection[int]) -> float:
    """Return for how long an answer about ``period`` is as good as a new one. Pure.

    :param corrected: beginnings of hours that are being corrected; what touches them is good only
        while nothing comes.
    """
    if any(period.start < hour + HOUR and hour < period.data_end for hour in corrected):
        return 0.0
    if period.data_end + SETTLED_AFTER <= now:
        return PAST_SECONDS
    return LIVE_SECONDS if period.bucket <= HOUR else SLOW_SECONDS


@dataclass(frozen=True, slots=True)
class Question:
    """One question to be answered.

    :ivar name: of the method, which stands for the type of its answer.
    :ivar about: everything that the answer depends on.
    :ivar shape: the same, but for the moment at which a period ends that goes with the clock; None:
        it does not.
    :ivar ages: the answer changes with the time, although nothing happens.
    """

    name: str
    about: tuple[object, ...]
    shape: tuple[object, ...] | None
    ages: bool = False

    @property
    def key(self) -> str:
        """Where its answer is kept."""
        return _key(self.name, self.about)

    @property
    def last_key(self) -> str:
        """Where its answer is kept for when the store is away."""
        return self.key if self.shape is None else _key(f"last-{self.name}", self.shape)


def _key(name: str, about: tuple[object, ...]) -> str:
    return f":figures:{name}:{hashlib.sha256(repr(about).encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class _Entry:
    """
    :ivar computed: POSIX seconds; so is ``fresh_until``.
    :ivar version: of what the log store held before.
    """

    computed: float
    fresh_until: float
    version: str
    value: Any


class KeptAnswers:
    """Keeps answers.

    :ivar pulse: of the log store.
    :ivar is_stale: whether the store was away when it was last asked.
    :ivar outdated: how many answers were given of before the last change, because they were fresh
        yet. Those that may be :data:`SLOW_SECONDS` late anyway are not counted.
    """

    _log = Logger()

    def __init__(self, cache: Cache, store_url: str, pulse: Pulse, *, clock: IReactorTime) -> None:
        """
        :param store_url: of the log store: another one that shares the cache has other sites.
        :param pulse: of the log store.
        """
        self._scope = "logs:" + hashlib.sha256(store_url.encode()).hexdigest()[:16]
        self._cache = cache
        self.pulse = pulse
        self._clock = clock
        # Key -> the content that was read there, and what it says.
        self._read_before: OrderedDict[str, tuple[bytes, _Entry]] = OrderedDict()
        self._tasks = Tasks(self._log)
        self._turns = Turns(clock)
        self._line = DeferredSemaphore(1)
        self._waiting: dict[str, list[Deferred[Any]]] = {}
        self.is_stale = False
        self.outdated = 0

    async def start(self) -> None:
        """Nothing to do before the first question."""

    async def stop(self) -> None:
        """Give up what is being computed."""
        await self._tasks.stop()

    async def get(
        self,
        question: Question,
        kind: Any,
        compute: Callable[[], Awaitable[T]],
        fresh: Callable[[], Awaitable[float]],
    ) -> T:
        """Return the answer.

        :param kind: its type, for :func:`~watchducks.analytics.packing.unpack`.
        :param fresh: asked after ``compute``: for how many seconds the answer is fresh.
        :raises StoreUnavailable: and there is no last answer. Other exceptions of ``compute`` too.
        """
        key, now = question.key, self._clock.seconds()
        entry = await self._read(key, kind)
        if entry is not None and now < entry.fresh_until:
            life = entry.fresh_until - entry.computed
            if now > entry.computed + AHEAD * life and key not in self._waiting:
                self._begin(question, kind, compute, fresh)
            self._note_outdated(entry)
            found: T = entry.value
            return found
        if entry is not None and await self._is_unchanged(question, entry):
            unchanged: T = entry.value
            return unchanged
        waiter: Deferred[T] = Deferred()
        if key not in self._waiting:
            self._begin(question, kind, compute, fresh, waiter)
        else:
            self._waiting[key].append(waiter)
        return await waiter

    def _note_outdated(self, entry: _Entry) -> None:
        may_be_late = entry.fresh_until - entry.computed >= SLOW_SECONDS
        if entry.version != self.pulse.last and not may_be_late:
            self.outdated += 1

    async def _is_unchanged(self, question: Question, entry: _Entry) -> bool:
        """Return whether an answer is fresh because nothing has changed since."""
        if question.ages or self._clock.seconds() > entry.computed + UNCHANGED_SECONDS:
            return False
        return entry.version == await self.pulse.version()

    def _begin(
        self,
        question: Question,
        kind: Any,
        compute: Callable[[], Awaitable[Any]],
        fresh: Callable[[], Awaitable[float]],
        *waiters: Deferred[Any],
    ) -> None:
        self._waiting[question.key] = list(waiters)
        self._tasks.start(self._answer(question, kind, compute, fresh), f"asking {question.name}")

    async def _answer(
        self,
        question: Question,
        kind: Any,
        compute: Callable[[], Awaitable[Any]],
        fresh: Callable[[], Awaitable[float]],
    ) -> None:
        """Compute an answer for all who wait for it; who comes meanwhile waits, too."""
        try:
            value = await self._computed(question, kind, compute, fresh)
        except BaseException as error:
            for waiter in self._waiting.pop(question.key):
                # Each has a Deferred of its own; one whose owner has left ignores this.
                waiter.errback(error)
            if not isinstance(error, Exception):
                raise
            return
        waiters = self._waiting.pop(question.key)
        # Each goes on with a page of its own.
        for waiter in waiters[1:]:
            self._turns.call(partial(waiter.callback, value))
        for waiter in waiters[:1]:
            waiter.callback(value)

    async def _computed(
        self,
        question: Question,
        kind: Any,
        compute: Callable[[], Awaitable[Any]],
        fresh: Callable[[], Awaitable[float]],
    ) -> Any:
        began = self._clock.seconds()
        try:
            await self._line.acquire()
            place = self._clock.callLater(PLACE_SECONDS, self._line.release)
            try:
                version = await self.pulse.version()
                value = await compute()
                seconds = await fresh()
            finally:
                if place.active():
                    place.cancel()
                    self._line.release()
        except StoreUnavailable:
            last = await self._read(question.key, kind) or await self._read(question.last_key, kind)
            if last is None:
                raise
            self.is_stale = True
            return last.value
        self.is_stale = False
        now = self._clock.seconds()
        seconds = max(seconds, min(SLOW_SECONDS, EFFORT * (now - began)))
        content = to_bytes(
            {"at": now, "until": now + seconds, "version": version, "value": pack(value)}
        )
        entry = _Entry(now, now + seconds, version, value)
        self._remember(question.key, content, entry)
        self._note_outdated(entry)  # some may wait who came after a change
        for key in {question.key, question.last_key}:
            try:
                await self._cache.set(self._scope + key, content, KEPT_SECONDS)
            except StoreUnavailable as error:
                self._log.debug("an answer is not kept: {error}", error=str(error))
        return value

    async def _read(self, key: str, kind: Any) -> _Entry | None:
        try:
            content = await self._cache.get(self._scope + key)
        except StoreUnavailable:
            return None
        if content is None:
            return None
        known = self._read_before.get(key)
        if known is not None and known[0] == content:
            self._read_before.move_to_end(key)
            return known[1]
        try:
            document = json.loads(content)
            entry = _Entry(
                document["at"],
                document["until"],
                document["version"],
                unpack(kind, document["value"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            # Another version of ours shares the cache.
            self._log.debug("an answer cannot be read: {error}", error=str(error))
            return None
        self._remember(key, content, entry)
        return entry

    def _remember(self, key: str, content: bytes, entry: _Entry) -> None:
        self._read_before[key] = content, entry
        self._read_before.move_to_end(key)
        if len(self._read_before) > MOST_READ:
            self._read_before.popitem(last=False)
