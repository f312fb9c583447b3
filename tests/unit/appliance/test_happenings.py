"""What becomes of sites is noted in the log store."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pytest_twisted
from twisted.internet.task import Clock

from watchducks.appliance.happenings import AGAIN_SECONDS, MOST_WAITING, NotedProgress, Notes
from watchducks.certificates.orders import Rule
from watchducks.model.certificates import (
    CertificateFailure,
    Trouble,
    after_failure,
    after_issue,
    after_order,
)
from watchducks.stores.logs_fake import FakeLogStore


class Progress:
    async def keep_certificate_progress(self, rules: Mapping[int, Rule]) -> None:
        pass


def noted(store: FakeLogStore) -> list[tuple[object, ...]]:
    return [(row["time"], row["site"], row["kind"], row["detail"]) for row in store.rows]


@pytest_twisted.ensureDeferred
async def test_notes_wait_for_the_store_and_are_bounded() -> None:
    clock, store = Clock(), FakeLogStore()
    notes = Notes(store, clock=clock, now=lambda: 1000.0 + clock.seconds())
    await notes.start()
    store.available = False
    for number in range(MOST_WAITING + 5):
        notes.note("name-servers", "moved", number)
    clock.advance(1)
    assert not store.rows
    store.available = True
    store.refuse = {"annotation-1000-7-name-servers"}
    clock.advance(AGAIN_SECONDS)
    assert len(store.rows) == MOST_WAITING - 1
    assert noted(store)[0] == (1000, 5, "name-servers", "moved")
    notes.note("certificate", "", 3)
    clock.advance(0)
    assert noted(store)[-1] == (1031, 3, "certificate", "")
    await notes.stop()
    assert not clock.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_of_certificates_those_that_came_and_those_that_did_not() -> None:
    clock, store = Clock(), FakeLogStore()
    notes = Notes(store, clock=clock, now=lambda: 50.0)
    await notes.start()
    progress = NotedProgress(Progress(), notes)
    failure = CertificateFailure(Trouble.CAA, "CAA forbids it")
    await progress.keep_certificate_progress({1: partial(after_order, now=50)})
    await progress.keep_certificate_progress({2: partial(after_issue, now=50, expires=90)})
    await progress.keep_certificate_progress(
        {3: lambda before: after_failure(before, failure, 50, 80)}
    )
    clock.advance(0)
    assert noted(store) == [
        (50, 2, "certificate", ""),
        (50, 3, "certificate-failed", "caa"),
    ]
    await notes.stop()
