"""How soon an edge that died is replaced."""

from __future__ import annotations

from watchducks.edges.backoff import LONG_LIFE_SECONDS, LONGEST_SECONDS, Backoff


def test_the_first_death_is_mended_at_once_and_the_next_ones_later_and_later() -> None:
    backoff, waits = Backoff(), []
    for _ in range(12):
        backoff = backoff.after(1.0)
        waits.append(backoff.seconds)
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_SECONDS
    for _ in range(2_000):  # the number of deaths is nobody's exponent
        backoff = backoff.after(1.0)
    assert backoff.seconds == LONGEST_SECONDS


def test_a_long_life_is_a_new_beginning() -> None:
    backoff = Backoff(7).after(LONG_LIFE_SECONDS)
    assert (backoff.seconds, backoff.keeps_dying) == (0.1, False)


def test_three_short_lives_in_a_row_are_worth_an_alarm() -> None:
    backoff = Backoff()
    said = []
    for _ in range(4):
        backoff = backoff.after(0.5)
        said.append(backoff.keeps_dying)
    assert said == [False, False, True, True]
