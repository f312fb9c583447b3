"""Hysteresis: exactly as many contrary results in a row as the settings say."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.health.judge import FLAP_SECONDS, MAX_DAMPING, Standing, damping, judge

AFTER = st.integers(1, 6)
RESULTS = st.lists(st.booleans(), max_size=60)


def run(results: list[bool], down_after: int, up_after: int) -> list[Standing]:
    """Judge results so far apart that none of them is flapping."""
    standing, standings = Standing(), []
    for turn, success in enumerate(results):
        standing = judge(
            standing,
            success=success,
            now=turn * FLAP_SECONDS,
            down_after=down_after,
            up_after=up_after,
        )
        standings.append(standing)
    return standings


@pytest.mark.parametrize(
    ("before", "success", "after"),
    [
        # The table in the module, with down_after = 3 and up_after = 5.
        (Standing(healthy=True, contrary=2), True, Standing(healthy=True)),
        (Standing(healthy=True, contrary=1), False, Standing(healthy=True, contrary=2)),
        (Standing(healthy=True, contrary=2), False, Standing(healthy=False, downs=(7.0,))),
        (Standing(healthy=False, contrary=4), False, Standing(healthy=False)),
        (Standing(healthy=False, contrary=3), True, Standing(healthy=False, contrary=4)),
        (Standing(healthy=False, contrary=4), True, Standing(healthy=True)),
    ],
)
def test_the_table(before: Standing, success: bool, after: Standing) -> None:
    assert judge(before, success=success, now=7.0, down_after=3, up_after=5) == after


def test_a_proxy_is_presumed_healthy() -> None:
    assert Standing().healthy


@given(RESULTS, AFTER, AFTER)
def test_a_verdict_changes_with_the_nth_contrary_result_in_a_row_and_only_then(
    results: list[bool], down_after: int, up_after: int
) -> None:
    healthy = True
    row = 0  # of results equal to the last one
    last: bool | None = None
    for success, standing in zip(results, run(results, down_after, up_after), strict=True):
        row = row + 1 if success == last else 1
        last = success
        needed = down_after if healthy else up_after
        flips = success != healthy and row >= needed
        assert standing.healthy is (success if flips else healthy)
        healthy = standing.healthy


@given(RESULTS, AFTER, AFTER)
def test_no_row_shorter_than_needed_ever_changes_the_verdict(
    results: list[bool], down_after: int, up_after: int
) -> None:
    short = [
        success
        for success, row in groupby(results)
        for _ in list(row)[: (up_after if success else down_after) - 1]
    ]
    # Shortening rows to nothing may join their neighbours, so that they are cut once more.
    lengths = [(success, len(list(row))) for success, row in groupby(short)]
    if all(length < (up_after if success else down_after) for success, length in lengths):
        assert all(standing.healthy for standing in run(short, down_after, up_after))


@given(RESULTS, AFTER, AFTER)
def test_enough_results_in_a_row_always_decide(
    results: list[bool], down_after: int, up_after: int
) -> None:
    assert run([*results, *[False] * down_after], down_after, up_after)[-1].healthy is False
    assert run([*results, *[True] * up_after], down_after, up_after)[-1].healthy is True


def fall(standing: Standing, now: float) -> Standing:
    return judge(standing, success=False, now=now, down_after=1, up_after=2)


def successes_needed(standing: Standing) -> int:
    count = 0
    while not standing.healthy:
        standing = judge(standing, success=True, now=0.0, down_after=1, up_after=2)
        count += 1
    return count


def test_a_proxy_that_keeps_falling_over_needs_more_successes_each_time() -> None:
    standing, needed = Standing(), []
    for now in range(6):
        standing = fall(standing, float(now))
        needed.append(successes_needed(standing))
        standing = Standing(healthy=True, downs=standing.downs)
    assert needed == [2, 4, 8, 16, 16, 16]
    assert len(standing.downs) <= MAX_DAMPING


def test_falls_that_are_long_past_do_not_count() -> None:
    standing = Standing(downs=(0.0, 1.0))
    assert damping(fall(standing, FLAP_SECONDS + 0.5)) == 2
    assert damping(fall(standing, FLAP_SECONDS + 1)) == 1


def test_one_success_on_the_way_does_not_forget_the_falls() -> None:
    standing = fall(fall(Standing(), 0.0), 1.0)
    assert judge(standing, success=True, now=2.0, down_after=1, up_after=2).downs == standing.downs
