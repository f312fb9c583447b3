"""Whose turn it is."""

from __future__ import annotations

from watchducks.certificates.agenda import Agenda


def test_the_earliest_first_and_each_once() -> None:
    agenda = Agenda()
    for number, time in ((1, 30.0), (2, 10.0), (3, 20.0), (2, 25.0), (4, 1.0), (4, float("inf"))):
        agenda.put(number, time)
    assert agenda.take(19.0) is None
    assert [agenda.take(40.0) for _ in range(4)] == [3, 2, 1, None]
    agenda.put(1, 5.0)
    agenda.put(1, 5.0)
    assert [agenda.take(40.0) for _ in range(2)] == [1, None]
