"""What the keeper of certificates tells a sysadmin."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.unit.certificates.test_keeper import BEGIN, World
from watchducks.certificates.acme.errors import (
    AcmeError,
    RateLimited,
    Reason,
    Rejected,
    Unavailable,
)
from watchducks.certificates.report import MAX_TOLD, report, when


def test_what_is_kept_is_told_by_when_it_is_due() -> None:
    world = World()
    for number in range(MAX_TOLD + 2):
        world.put(f"site{number}.example", number + 1)
    world.start()
    told = report(world.keeper, BEGIN)
    assert (told["kept"], told["under_way"]) == (MAX_TOLD + 2, 0)
    assert told["failing_names"] == 0
    assert told["failing"] == told["waiting"] == told["silent"] == []
    assert len(told["due"]) == MAX_TOLD
    assert [one["due"] for one in told["due"]] == sorted(one["due"] for one in told["due"])
    assert all(when(BEGIN) < one["due"] < one["ends"] for one in told["due"])


@pytest.mark.parametrize(
    ("error", "told_as"),
    [
        (Rejected({"a.example": Reason("dns", "no such name")}), ["failing"]),
        (RateLimited("slowly"), ["silent", "waiting"]),
        (Unavailable("it is being moved"), ["silent"]),
    ],
)
def test_what_keeps_a_certificate_away_is_told_and_until_when(
    error: AcmeError, told_as: list[str]
) -> None:
    def refuse(ordered: Sequence[str]) -> None:
        if "a.example" in ordered:
            raise error

    world = World()
    world.authority.refuses = refuse
    world.put("a.example", 1)
    world.start()
    told = report(world.keeper, BEGIN)
    assert [key for key in ("failing", "silent", "waiting") if told[key]] == told_as
    for key in told_as:
        (one,) = told[key]
        assert (one.get("again") or one.get("until")) > when(BEGIN)
    if told["failing"]:
        (one,) = told["failing"]
        assert (one["name"], one["failed"], one["reason"]) == (
            *("a.example", when(BEGIN)),
            "no such name",
        )
