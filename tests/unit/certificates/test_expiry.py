"""When owners are told that a certificate ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.certificates.test_keeper import World, names
from watchducks.certificates.acme.errors import Reason, Rejected
from watchducks.certificates.expiry import (
    DAY_SECONDS,
    LOOK_SECONDS,
    OVERDUE_SECONDS,
    ExpiryNotices,
    notice,
)
from watchducks.certificates.measures import samples
from watchducks.certificates.plan import Held
from watchducks.model.letters import Letter, LetterKind

NOW = 1e9


@pytest.mark.parametrize(
    ("days_left", "overdue", "expected"),
    [
        (20.0, True, None),
        (14.0, True, 14),
        (14.0, False, None),
        (7.1, True, 14),
        (7.0, True, 7),
        (1.0, True, 1),
        (0.1, True, 1),
        (0.0, True, None),
    ],
)
def test_the_days(days_left: float, *, overdue: bool, expected: int | None) -> None:
    due = NOW - OVERDUE_SECONDS if overdue else NOW
    assert notice(Held(frozenset(), NOW + days_left * DAY_SECONDS, due), NOW) == expected


class Post:
    """Takes each topic once."""

    def __init__(self) -> None:
        self.letters: dict[str, Letter] = {}

    async def post(self, letter: Letter) -> bool:
        return self.letters.setdefault(letter.topic, letter) is letter


class NoProgress:
    async def cutover(self, site_id: int) -> None:
        return None


def shown(world: World) -> Mapping[str, Any]:
    return {sample.name: sample.value for sample in samples(world.keeper)}


def test_names_that_have_another_one_are_nobodys_worry() -> None:
    world, post = World(per_certificate=10), Post()
    world.put("a.example", 1)
    world.put("b.example", 2)
    world.start()

    def refuse(ordered: Sequence[str]) -> None:
        bad = [name for name in ordered if name.endswith("b.example")]
        if bad:
            raise Rejected(dict.fromkeys(bad, Reason("caa", "no")))

    world.authority.refuses = refuse
    keeper, clock = world.keeper, world.clock
    notices = ExpiryNotices(
        keeper.holdings, keeper.groups, NoProgress(), post, clock=clock, now=clock.seconds
    )
    _ = Deferred.fromCoroutine(notices.start())
    for _ in range(85):
        clock.advance(DAY_SECONDS)
    # a.example was renewed, and b.example's is the one of before.
    told = [(one.facts["zone"], topic[-3:]) for topic, one in post.letters.items()]
    assert told == [("b.example", ":14"), ("b.example", "0:7")]
    assert {one.facts["trouble"] for one in post.letters.values()} == {"late"}
    _ = Deferred.fromCoroutine(notices.stop())


def test_the_owner_of_a_certificate_that_is_not_renewed_hears_of_it_three_times() -> None:
    world, post = World(), Post()
    world.put("a.example", 1)
    world.start()
    keeper = world.keeper
    clock: Clock = world.clock
    notices = ExpiryNotices(
        keeper.holdings, keeper.groups, NoProgress(), post, clock=clock, now=clock.seconds
    )
    _ = Deferred.fromCoroutine(notices.start())
    world.authority.hangs = True
    for _ in range(92):
        clock.advance(DAY_SECONDS - LOOK_SECONDS)
        clock.advance(LOOK_SECONDS)
    assert [topic.rpartition(":")[2] for topic in post.letters] == ["14", "7", "1"]
    (letter, *_) = post.letters.values()
    assert (letter.kind, letter.facts["zone"]) == (LetterKind.CERTIFICATE, "a.example")
    _ = Deferred.fromCoroutine(notices.stop())
    assert shown(world)["watchducks_certificates"] == 1
    assert shown(world)["watchducks_certificate_orders_under_way"] == 1
    assert shown(world)["watchducks_certificate_orders_total"] == 2
    assert world.authority.orders == [names("a.example")] * 2
