"""From changes of verdicts, as several name servers saw them, to times without observation."""

from __future__ import annotations

import pytest

from watchducks.analytics.events import find_error_bursts, find_failovers, join_losses
from watchducks.analytics.results import Annotation, Failover, Lost


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ([], ()),
        ([("a", 10, 1)], ()),
        ([("a", 10, 0)], (Failover(10, None),)),
        ([("a", 10, 0), ("a", 20, 1)], (Failover(10, 20),)),
        (
            [("a", 10, 1), ("a", 20, 0), ("a", 25, 2), ("a", 30, 0)],
            (Failover(20, 25), Failover(30, None)),
        ),
        # Two name servers see one failure a moment apart.
        ([("a", 10, 0), ("a", 20, 1), ("b", 12, 0), ("b", 22, 1)], (Failover(10, 22),)),
        # One of them never came back; the other did.
        ([("a", 10, 0), ("b", 12, 0), ("b", 22, 1)], (Failover(10, None),)),
        # Another name server's first change does not end this one's failover.
        ([("a", 10, 0), ("b", 30, 1)], (Failover(10, None),)),
    ],
)
def test_failovers(changes: list[tuple[str, int, int]], found: tuple[Failover, ...]) -> None:
    assert find_failovers(changes) == found


def test_what_ended_before_the_chart_begins_is_not_in_it() -> None:
    changes = [("a", 10, 0), ("a", 20, 1), ("a", 30, 0), ("a", 50, 1)]
    assert find_failovers(changes, start=40) == (Failover(30, 50),)


def test_a_burst_of_errors_is_told_where_it_begins() -> None:
    answers = [
        (0, 100, 9),
        (60, 100, 10),
        (120, 100, 90),  # it goes on
        (180, 19, 19),  # too few to tell
        (240, 20, 2),
    ]
    assert find_error_bursts(answers, 60) == (
        Annotation(60, "error-burst", "10%"),
        Annotation(240, "error-burst", "10%"),
    )


def test_losses_with_no_bucket_between_them_are_one() -> None:
    losses = [Lost(10, 50, 1), Lost(20, 30, 2), Lost(110, 120, 3), Lost(181, 190, 4)]
    assert join_losses(losses, 60) == (Lost(10, 120, 6), Lost(181, 190, 4))
    assert join_losses([], 60) == ()
