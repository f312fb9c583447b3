"""Which authority is asked."""

from __future__ import annotations

from typing import Any

import pytest_twisted

from watchducks.certificates.authorities import (
    FIRST_PAUSE_SECONDS,
    MAX_PAUSE_SECONDS,
    Authorities,
    Place,
    account_name,
)
from watchducks.certificates.memory import Wait
from watchducks.certificates.plan import FALLBACK_SECONDS

NOW = 1e9


class Keys:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def secret(self, name: str) -> bytes | None:
        return self.kept.get(name)

    async def keep_secret(self, name: str, secret: bytes | None) -> None:
        assert secret is not None
        self.kept[name] = secret


async def opened(*names: str, keys: Keys | None = None) -> Authorities:
    used: Any = lambda key: key.pem()  # noqa: E731
    found = Authorities([Place(name, used) for name in names], keys or Keys())
    await found.open()
    return found


def chosen(found: Authorities, now: float, *, urgent: bool = True, **waits: Wait) -> Any:
    place, later = found.choose(waits, now, urgent=urgent)
    return later if place is None else place.name


@pytest_twisted.ensureDeferred
async def test_an_account_is_made_once() -> None:
    keys = Keys()
    first = await opened("a", "b", keys=keys)
    again = await opened("a", "b", keys=keys)
    assert first.named("a").authority == again.named("a").authority  # type: ignore[union-attr]
    assert len(set(keys.kept.values())) == 2
    assert first.named("c") is None
    assert account_name("https://a/") != account_name("https://b/")


@pytest_twisted.ensureDeferred
async def test_the_second_stands_in_after_a_while_for_what_is_urgent() -> None:
    found = await opened("a", "b")
    first = found.named("a")
    assert first is not None
    now = NOW
    while now < NOW + FALLBACK_SECONDS:
        assert chosen(found, now) == "a"
        now += first.was_away(now, None)
    first.paused_until = now + 100
    assert chosen(found, now) == "b"
    assert chosen(found, now, urgent=False) == now + 100
    first.answered()
    first.paused_until = 0.0
    assert chosen(found, now) == "a"


@pytest_twisted.ensureDeferred
async def test_a_refused_bundle_goes_to_the_second_and_both_may_refuse() -> None:
    found = await opened("a", "b")
    wait = Wait(NOW, NOW + 3600, 1)
    assert chosen(found, NOW + 1, a=wait) == NOW + FALLBACK_SECONDS
    assert chosen(found, NOW + FALLBACK_SECONDS, a=wait) == "b"
    other = Wait(NOW, NOW + 1800, 1)
    assert chosen(found, NOW + FALLBACK_SECONDS, a=wait, b=other) == NOW + 1800
    assert chosen(found, NOW + 1800, a=wait, b=other) == "b"
    alone = await opened("a")
    assert chosen(alone, NOW + 900, a=wait) == NOW + 3600


@pytest_twisted.ensureDeferred
async def test_pauses_double_and_count_once_for_all_orders_under_way() -> None:
    first = (await opened("a")).named("a")
    assert first is not None
    assert first.was_away(NOW, None) == FIRST_PAUSE_SECONDS
    assert first.was_away(NOW + 1, None) == FIRST_PAUSE_SECONDS - 1
    assert first.was_away(NOW + 10, None) == 2 * FIRST_PAUSE_SECONDS
    assert first.was_away(NOW + 100, 50.0) == 50.0
    now = NOW + 1000
    for _ in range(20):
        now += first.was_away(now, None)
    assert first.was_away(now, None) == MAX_PAUSE_SECONDS
