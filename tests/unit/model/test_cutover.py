"""The rules of a site's way from its registration to its first visitor."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.registry.examples import example_site
from watchducks.model import cutover
from watchducks.model.changes import Changes
from watchducks.model.cutover import (
    CONFIRM_SECONDS,
    FIRST_LOOK_SECONDS,
    MAX_LOOK_SECONDS,
    SIGNED_SECONDS,
    UNCLAIMED,
    WATCH_SECONDS,
    CutoverRules,
    Finding,
    Look,
    Progress,
    SiteCutover,
)
from watchducks.model.sites import SiteState
from watchducks.model.steps import steps

OWN = ("ns1.ducks.example", "ns2.ducks.example")
OPEN = CutoverRules()
STRICT = CutoverRules(require_delegation=True)
ACME = CutoverRules(require_delegation=True, acme=True)
OURS = Look(OWN)
ELSEWHERE = Look(("ns.old.example",))
NOBODY = Look(())
MIXED = Look((OWN[0], "ns.old.example"))
SILENT = Look(None)
NOW = 1_800_000_000


def look(
    state: SiteState,
    before: Progress,
    seen: Look,
    now: int = NOW,
    *,
    rivals: bool = False,
    rules: CutoverRules = STRICT,
) -> tuple[SiteState, Progress]:
    return cutover.after_look(state, before, seen, own=OWN, rivals=rivals, rules=rules, now=now)


def test_looks_become_rarer_until_the_delegation_is_seen() -> None:
    state, progress = SiteState.REGISTERED, cutover.begun(NOW)
    assert progress.due == NOW + FIRST_LOOK_SECONDS
    waits = []
    for _ in range(20):
        now = progress.due
        state, progress = look(state, progress, ELSEWHERE, now)
        waits.append(progress.due - now)
        assert state is SiteState.REGISTERED
    assert waits[:4] == [120, 240, 480, 960]
    assert waits[-1] == MAX_LOOK_SECONDS
    assert progress.servers == ("ns.old.example",)
    state, progress = look(state, progress, OURS, NOW + 9)
    assert state is SiteState.DELEGATED
    assert (progress.delegated, progress.tries, progress.finding) == (NOW + 9, 0, "delegated")
    assert progress.due == NOW + 9 + WATCH_SECONDS


@pytest.mark.parametrize(
    ("seen", "finding"),
    [
        (ELSEWHERE, Finding.ELSEWHERE),
        (NOBODY, Finding.NOBODY),
        (MIXED, Finding.PARTLY),
        (SILENT, Finding.UNKNOWN),
    ],
)
def test_a_site_is_not_delegated_while_anything_else_is_found(seen: Look, finding: Finding) -> None:
    state, progress = look(SiteState.REGISTERED, cutover.begun(NOW), seen)
    assert (state, progress.finding) == (SiteState.REGISTERED, finding)


def test_of_several_registrants_only_the_one_who_shows_his_gets_the_zone() -> None:
    state, progress = look(SiteState.REGISTERED, cutover.begun(NOW), OURS, rivals=True)
    assert (state, progress.finding) == (SiteState.REGISTERED, Finding.UNPROVEN)
    # Shown at the old name servers, before they are changed.
    proof = replace(ELSEWHERE, proven=True)
    state, progress = look(state, progress, proof, NOW + 1, rivals=True)
    assert (state, progress.proven) == (SiteState.REGISTERED, NOW + 1)
    state, progress = look(state, progress, OURS, NOW + 2, rivals=True)
    assert state is SiteState.DELEGATED


def test_a_ds_of_other_keys_keeps_a_site_from_becoming_active() -> None:
    ds = f"12345 13 2 {'ab' * 32}"
    theirs = replace(OURS, ds=(ds,))
    state, progress = look(SiteState.REGISTERED, cutover.begun(NOW), theirs)
    # Who does not validate is served all the same.
    assert (state, progress.finding) == (SiteState.DELEGATED, Finding.SIGNED)
    assert progress.due == NOW + SIGNED_SECONDS
    after = cutover.after_request(state, progress, STRICT, NOW + 1)
    assert after == (state, replace(progress, requested=NOW + 1))
    site = replace(example_site("ducks.example"), state=state)
    step = steps(SiteCutover(site, progress, "proof", 0), STRICT)[-1]
    assert step.note is not None
    assert step.note.code == "ds-present"
    _, gone = look(state, progress, OURS, NOW + 1)
    assert gone.finding is Finding.DELEGATED
    assert cutover.after_request(state, gone, STRICT, NOW + 2)[0] is SiteState.ACTIVE
    # A proxy reports the first request once.
    active, seen = look(*after, OURS, NOW + 3)
    assert (active, seen.active, seen.requested) == (SiteState.ACTIVE, NOW + 3, 0)
    _, ours = cutover.after_look(
        state, progress, theirs, own=OWN, rivals=False, rules=STRICT, now=NOW, own_ds=[ds.upper()]
    )
    assert ours.finding is Finding.DELEGATED


def test_a_loss_is_believed_when_it_was_seen_twice() -> None:
    before = Progress(delegated=NOW - 1, proven=NOW - 1)
    state, progress = look(SiteState.ACTIVE, before, ELSEWHERE)
    assert (state, progress.due) == (SiteState.ACTIVE, NOW + CONFIRM_SECONDS)
    # Silence in between neither hides it nor counts.
    state, progress = look(state, progress, SILENT, NOW + 1)
    assert (state, progress.tries) == (SiteState.ACTIVE, 1)
    moved, gone = look(state, progress, NOBODY, NOW + 2)
    assert (moved, gone.moved, gone.proven) == (SiteState.MOVED, NOW + 2, 0)
    assert look(moved, gone, OURS, NOW + 3)[0] is SiteState.DELEGATED
    # And one that was a mistake is forgotten.
    state, progress = look(state, progress, OURS, NOW + 2)
    assert (state, progress.tries) == (SiteState.ACTIVE, 0)


def test_what_was_never_delegated_has_nothing_to_lose_where_it_need_not_be() -> None:
    state, progress = SiteState.ACTIVE, Progress()
    for _ in range(3):
        state, progress = look(state, progress, NOBODY, rules=OPEN)
    assert state is SiteState.ACTIVE


@pytest.mark.parametrize(
    ("rules", "active_from"),
    [
        (OPEN, {"registered", "delegated", "certified"}),
        (STRICT, {"delegated", "certified"}),
        (ACME, {"certified"}),
        (CutoverRules(acme=True), {"certified"}),
    ],
)
def test_the_first_request_makes_a_site_active(rules: CutoverRules, active_from: set[str]) -> None:
    for state in SiteState:
        after, progress = cutover.after_request(state, Progress(), rules, NOW)
        if state in active_from:
            assert (after, progress.active) == (SiteState.ACTIVE, NOW)
        else:
            assert (after, progress) == (state, Progress())


@pytest.mark.parametrize(
    ("rules", "counts_from"),
    [
        (STRICT, {"delegated"}),
        (ACME, {"delegated"}),
        (OPEN, {"delegated"}),
        (CutoverRules(acme=True), {"registered", "delegated"}),
    ],
)
def test_a_certificate_counts_for_who_awaits_one(
    rules: CutoverRules, counts_from: set[str]
) -> None:
    for state in SiteState:
        after, progress = cutover.after_certificate(state, Progress(), rules, NOW)
        if state in counts_from:
            assert (after, progress.certified) == (SiteState.CERTIFIED, NOW)
        else:
            assert (after, progress) == (state, Progress())


def test_what_is_served_and_what_is_answered() -> None:
    states = list(SiteState)
    assert all(OPEN.carries(state) and OPEN.claims(state) for state in states)
    assert not any(OPEN.leads_to_origin(state) for state in states)
    assert [s for s in states if not STRICT.carries(s)] == [SiteState.REGISTERED]
    assert [s for s in states if not STRICT.claims(s)] == ["registered", "moved"]
    assert [s for s in states if STRICT.leads_to_origin(s)] == ["registered", "moved"]
    assert [s for s in states if ACME.leads_to_origin(s)] == ["registered", "delegated", "moved"]


def test_what_is_not_carried_is_gone_for_those_who_carry() -> None:
    site = example_site("ducks.example")
    moved = replace(site, zone="geese.example", state=SiteState.MOVED)
    changes = Changes(7, (site, moved), ("old.example",), more=True)
    assert OPEN.carried(changes) == changes
    gone = ("old.example", "ducks.example")
    assert STRICT.carried(changes) == Changes(7, (moved,), gone, more=True)


def test_a_click_is_taken_once_in_a_while() -> None:
    before = Progress(looked=NOW, due=NOW + 999, tries=7)
    assert cutover.after_click(before, NOW + 9) is None
    after = cutover.after_click(before, NOW + 10)
    assert after is not None
    assert (after.due, after.tries) == (NOW + 10, 1)


DAY = 86_400


def test_a_site_that_nobody_delegates_is_forgotten_after_four_weeks_and_a_warning() -> None:
    site = replace(example_site("ducks.example"), created=NOW)
    seen = Progress(finding=Finding.ELSEWHERE)

    def due(progress: Progress, days: float, *, state: SiteState = SiteState.REGISTERED) -> str:
        now = NOW + int(days * DAY)
        return cutover.farewell(replace(site, state=state), progress, STRICT, now).name

    assert [due(seen, days) for days in (20.9, 21, 99)] == ["NOTHING", "WARN", "WARN"]
    warned = replace(seen, warned=NOW + 21 * DAY)
    assert [due(warned, days) for days in (27.9, 28)] == ["NOTHING", "FORGET"]
    # Who was told late has his week all the same.
    late = replace(seen, warned=NOW + 40 * DAY)
    assert [due(late, days) for days in (46.9, 47)] == ["NOTHING", "FORGET"]
    # One that has moved has its four weeks from then on.
    moved = replace(seen, moved=NOW + 100 * DAY)
    found = [due(moved, days, state=SiteState.MOVED) for days in (120.9, 121)]
    assert found == ["NOTHING", "WARN"]
    # Only what was seen counts, and only of sites that have no delegation.
    for unseen in (Finding.NONE, Finding.UNKNOWN):
        assert due(replace(warned, finding=unseen), 99) == "NOTHING"
    assert due(warned, 99, state=SiteState.DELEGATED) == "NOTHING"
    assert cutover.farewell(site, warned, OPEN, NOW + 99 * DAY).name == "NOTHING"


def test_a_delegation_takes_the_warning_back() -> None:
    assert look(SiteState.REGISTERED, Progress(warned=5), OURS)[1].warned == 0


def test_a_challenge_is_of_one_registration_of_one_registry() -> None:
    site = example_site("ducks.example")
    value = cutover.challenge("here", site)
    assert value.startswith("watchducks=")
    assert len({value, cutover.challenge("there", site)}) == 2
    assert cutover.challenge("here", replace(site, id=2)) != value
    assert cutover.challenge("here", replace(site, origin=site.origin, revision=9)) == value


LOOKS = st.sampled_from([OURS, ELSEWHERE, NOBODY, MIXED, SILENT, replace(SILENT, proven=True)])
EVENTS = st.lists(
    st.tuples(st.sampled_from(["look", "certificate", "request", "click"]), LOOKS, st.booleans()),
    max_size=30,
)


@settings(max_examples=200)
@given(EVENTS, st.sampled_from([OPEN, STRICT, ACME]))
def test_whatever_happens(events: list[tuple[str, Look, bool]], rules: CutoverRules) -> None:
    state, progress, now = SiteState.REGISTERED, cutover.begun(NOW), NOW
    for event, seen, rivals in events:
        now += 7
        before = state
        if event == "look":
            state, progress = look(state, progress, seen, now, rivals=rivals, rules=rules)
            assert now < progress.due <= now + WATCH_SECONDS, "it is looked again, and not at once"
        elif event == "certificate":
            state, progress = cutover.after_certificate(state, progress, rules, now)
        elif event == "request":
            state, progress = cutover.after_request(state, progress, rules, now)
        else:
            progress = cutover.after_click(progress, now) or progress
        if before in UNCLAIMED and state not in UNCLAIMED and rules.require_delegation:
            assert event == "look"
            assert seen.servers == OWN
            assert progress.proven or not rivals, "no traffic without ownership"
        if state is SiteState.ACTIVE and before is not state and rules.acme:
            assert before is SiteState.CERTIFIED
        if state is SiteState.MOVED:
            assert progress.delegated
        assert 0 <= progress.tries <= 10
        assert Progress.unpack(progress.pack()) == progress


@pytest.mark.parametrize(
    "packed",
    [b"", b"[]", b"1", b"{}", json.dumps({"format": 2}).encode(), b'{"format":1,"x":1}'],
)
def test_what_we_did_not_pack_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Progress.unpack(packed)
