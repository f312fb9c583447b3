"""Zone keys: what is made is real, sealed for its zone, and used when its time has come."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.nameserver.keys import GlassSeals, glass
from tests.unit.registry.examples import example_site
from watchducks.model.problems import InvalidFields
from watchducks.model.signing import (
    DS_TTL_SECONDS,
    PROPAGATION_SECONDS,
    Phase,
    Signing,
    apex_name,
    seal_context,
)
from watchducks.model.sites import Site
from watchducks.model.zones import Record, ZoneContents
from watchducks.registry.keys import KeyStep, ZoneKeys

NOW = 1_800_000_000
SITE = example_site("ducks.example")
DAY = 86_400


def keys_at(now: float, ttl: int = 30) -> ZoneKeys:
    return ZoneKeys(glass, ttl=ttl, now=lambda: now)


def signed(phase: Phase = Phase.SIGNED, keys: int = 1, due: int = 0) -> Site:
    made = tuple(keys_at(NOW).make(SITE.zone) for _ in range(keys))
    return replace(SITE, signing=Signing(phase, due, made))


def test_a_key_is_made_for_one_zone() -> None:
    one, two = keys_at(NOW).make("ducks.example"), keys_at(NOW).make("ducks.example")
    assert one.public != two.public
    assert len(one.public) == 64
    secret = GlassSeals().unseal(one.sealed, seal_context(apex_name("ducks.example")))
    assert len(secret) == 32


@pytest.mark.parametrize(
    ("own", "contents", "longest"),
    [
        (30, ZoneContents(), 3_600),  # SOA, NS and the keys themselves
        (DAY, ZoneContents(), DAY),  # the proxied names
        (30, ZoneContents((), (Record(b"", 16, 7 * DAY, b""), Record(b"", 15, 5, b""))), 7 * DAY),
    ],
)
def test_the_parent_waits_for_the_longest_lived_record(
    own: int, contents: ZoneContents, longest: int
) -> None:
    site = replace(SITE, contents=contents)
    signing = keys_at(NOW, own).switched(site, on=True)
    assert (signing.phase, signing.due) == (Phase.BEGINNING, NOW + longest + PROPAGATION_SECONDS)


def test_what_is_already_so_makes_no_key() -> None:
    site = signed()
    assert keys_at(NOW).switched(site, on=True) == site.signing
    assert keys_at(NOW).switched(SITE, on=False) == SITE.signing


def test_steps_go_from_where_time_has_brought_the_keys() -> None:
    site = signed(Phase.BEGINNING, due=NOW)
    rolling = keys_at(NOW).stepped(site, KeyStep.ROLL)
    assert (rolling.phase, rolling.keys[0]) == (Phase.PUBLISHING, site.signing.keys[0])
    with pytest.raises(InvalidFields, match="beginning"):
        keys_at(NOW - 1).stepped(site, KeyStep.ROLL)

    replacing = replace(site, signing=rolling)
    with pytest.raises(InvalidFields, match="publishing"):
        keys_at(rolling.due - 1).stepped(replacing, KeyStep.CONFIRM)
    retiring = keys_at(rolling.due).stepped(replacing, KeyStep.CONFIRM)
    assert retiring.phase is Phase.RETIRING
    assert retiring.due == rolling.due + DS_TTL_SECONDS + PROPAGATION_SECONDS
    assert retiring.at(retiring.due).keys == rolling.keys[1:]


def test_switching_on_again_takes_the_old_key_back() -> None:
    site = signed(Phase.ENDING, due=NOW + 1)
    assert keys_at(NOW).switched(site, on=True) == Signing(Phase.SIGNED, 0, site.signing.keys)
    anew = keys_at(NOW + 1).switched(site, on=True)
    assert anew.phase is Phase.BEGINNING
    assert anew.keys != site.signing.keys
