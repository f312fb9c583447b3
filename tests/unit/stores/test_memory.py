"""The memory cache's bounds, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from watchducks.stores.memory import ENTRY_BYTES, MemoryCache

T = TypeVar("T")


def now(coroutine: Coroutine[Deferred[Any], Any, T]) -> T:
    """Run what needs no waiting."""
    return cast(T, Deferred.fromCoroutine(coroutine).result)


def test_the_least_recently_used_go_first() -> None:
    cache = MemoryCache(Clock(), max_entries=3)
    for key in "abc":
        now(cache.set(key, key.encode(), 60))
    assert now(cache.get("a")) == b"a"
    now(cache.set("d", b"d", 60))
    assert [key for key in "abcd" if now(cache.get(key)) is not None] == ["a", "c", "d"]


def test_values_are_bounded_in_bytes() -> None:
    cache = MemoryCache(Clock(), max_bytes=3 * (ENTRY_BYTES + 101))
    for key in "abcd":
        now(cache.set(key, b"x" * 100, 60))
    assert [key for key in "abcd" if now(cache.get(key)) is not None] == ["b", "c", "d"]
    now(cache.set("e", b"x" * 300, 60))
    assert [key for key in "bcde" if now(cache.get(key)) is not None] == ["d", "e"]
    # What is larger than the cache is not kept, and what it would replace is wrong by now.
    now(cache.set("e", b"x" * 10_000, 60))
    assert [key for key in "de" if now(cache.get(key)) is not None] == ["d"]


def test_an_entry_ends_with_its_life() -> None:
    clock = Clock()
    cache = MemoryCache(clock)
    now(cache.set("a", b"1", 10))
    clock.advance(9.9)
    assert now(cache.get("a")) == b"1"
    clock.advance(0.1)
    assert now(cache.get("a")) is None


KEYS = st.sampled_from("abcdef")
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS, st.integers(0, 500)),
    st.tuples(st.just("get"), KEYS, st.none()),
    st.tuples(st.just("delete"), KEYS, st.none()),
    st.tuples(st.just("wait"), st.none(), st.integers(1, 10)),
)


@given(st.lists(STEPS, max_size=60))
def test_the_bounds_hold_whatever_happens(steps: list[tuple[str, Any, Any]]) -> None:
    clock = Clock()
    cache = MemoryCache(clock, max_entries=4, max_bytes=1500)
    latest: dict[str, bytes] = {}
    for step, key, detail in steps:
        match step:
            case "set":
                latest[key] = bytes([len(latest)]) * detail
                now(cache.set(key, latest[key], 10))
            case "get":
                value = now(cache.get(key))
                # An entry may be lost at any time, but never be another one.
                assert value is None or value == latest[key]
            case "delete":
                now(cache.delete([key]))
                latest.pop(key, None)
            case _:
                clock.advance(detail)
        entries = cache._entries
        assert len(entries) <= 4
        size = sum(ENTRY_BYTES + len(key) + len(value) for key, (_, value) in entries.items())
        assert cache._bytes == size <= 1500
