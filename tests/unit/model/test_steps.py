"""A site's way as its owner sees it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.registry.examples import example_site
from watchducks.model.certificates import (
    CertificateFailure,
    CertificateProgress,
    Trouble,
    after_failure,
    after_issue,
    after_order,
    trouble_of,
)
from watchducks.model.cutover import CutoverRules, Finding, Progress, SiteCutover
from watchducks.model.sites import SiteState
from watchducks.model.steps import StepState, steps

OPEN = CutoverRules()
STRICT = CutoverRules(require_delegation=True)
ACME = CutoverRules(require_delegation=True, acme=True)


def shown(state: SiteState, progress: Progress, rules: CutoverRules) -> list[tuple[str, str, str]]:
    site = replace(example_site("ducks.example"), state=state)
    return [
        (step.name, step.state, "" if step.note is None else step.note.code)
        for step in steps(SiteCutover(site, progress, "proof", 0), rules)
    ]


def test_the_owner_sees_each_step_and_what_the_next_one_waits_for() -> None:
    assert shown(SiteState.REGISTERED, Progress(), ACME) == [
        ("registered", "done", ""),
        ("delegated", "now", "waiting"),
        ("ordered", "later", ""),
        ("certified", "later", ""),
        ("active", "later", ""),
    ]
    assert shown(SiteState.DELEGATED, Progress(delegated=1), STRICT) == [
        ("registered", "done", ""),
        ("delegated", "done", ""),
        ("active", "now", "request"),
    ]
    assert shown(SiteState.DELEGATED, Progress(delegated=1), ACME)[2] == (
        *("ordered", "now"),
        "certificate",
    )
    assert {state for _, state, _ in shown(SiteState.ACTIVE, Progress(), ACME)} == {"done"}
    assert [name for name, _, _ in shown(SiteState.ACTIVE, Progress(), OPEN)] == [
        "registered",
        "active",
    ]
    moved = Progress(finding=Finding.ELSEWHERE, servers=("ns.old.example",))
    assert shown(SiteState.MOVED, moved, STRICT)[1] == ("delegated", "now", "elsewhere")
    for finding in Finding:
        found = shown(SiteState.REGISTERED, Progress(finding=finding), STRICT)
        assert found[1][1] == StepState.NOW
        assert found[1][2]


def test_notes_name_what_was_found() -> None:
    site = example_site("ducks.example")
    progress = Progress(finding=Finding.UNPROVEN)
    found = SiteCutover(site, progress, "watchducks=1", 1)
    note = steps(found, STRICT)[1].note
    assert "_watchducks-challenge.ducks.example" in str(note)
    assert "watchducks=1" in str(note)
    taken = steps(replace(found, taken=True), STRICT)[1].note
    assert taken is not None
    assert taken.code == "taken"


ORDERED = after_order(CertificateProgress(), 5)


def certificate(progress: CertificateProgress) -> Progress:
    return Progress(delegated=1, certificate=progress)


def test_an_order_and_what_keeps_it_from_its_end() -> None:
    failure = CertificateFailure(trouble_of("caa"), "CAA forbids", "www.ducks.example")
    failed = after_failure(ORDERED, failure, 7, 67)
    found = shown(SiteState.DELEGATED, certificate(ORDERED), ACME)
    assert found[2:4] == [("ordered", "done", ""), ("certified", "now", "certificate")]
    found = shown(SiteState.DELEGATED, certificate(failed), ACME)
    assert found[3] == ("certified", "now", "certificate-caa")
    at_once = after_failure(CertificateProgress(), CertificateFailure(Trouble.AWAY, "gone"), 7, 9)
    found = shown(SiteState.DELEGATED, certificate(at_once), ACME)
    assert found[2] == ("ordered", "now", "certificate-away")
    issued = after_issue(failed, 70, 900)
    assert (issued.ordered, issued.issued, issued.expires, issued.failed) == (5, 70, 900, 0)
    # What was ordered before the site left is none of the next time.
    again = replace(certificate(ORDERED), moved=6)
    assert shown(SiteState.DELEGATED, again, ACME)[2] == ("ordered", "now", "certificate")


def test_without_a_delegation_the_certificate_is_the_next_step() -> None:
    rules = CutoverRules(acme=True)
    found = shown(SiteState.REGISTERED, Progress(), rules)
    assert [name for name, _, _ in found] == ["registered", "ordered", "certified", "active"]
    assert found[1] == ("ordered", "now", "certificate")
    found = shown(SiteState.REGISTERED, replace(Progress(), certificate=ORDERED), rules)
    assert found[2] == ("certified", "now", "certificate")
    assert {state for _, state, _ in shown(SiteState.ACTIVE, Progress(), rules)} == {"done"}


@pytest.mark.parametrize("trouble", list(Trouble)[1:])
def test_every_trouble_says_what_to_do(trouble: Trouble) -> None:
    failed = after_failure(ORDERED, CertificateFailure(trouble, "why", "a.example"), 1, 2)
    site = replace(example_site("ducks.example"), state=SiteState.DELEGATED)
    (note,) = [
        step.note
        for step in steps(SiteCutover(site, certificate(failed), "proof", 0), ACME)
        if step.state is StepState.NOW
    ]
    assert note is not None
    assert "{" not in str(note)


def test_the_progress_comes_back_from_the_store() -> None:
    failed = after_failure(ORDERED, CertificateFailure(Trouble.DNS, "x" * 999), 1, 2)
    progress = certificate(failed)
    assert Progress.unpack(progress.pack()) == progress
    assert len(failed.words) < 999
