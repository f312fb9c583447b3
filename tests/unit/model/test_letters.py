"""When a letter that could not be sent is tried again, and when it is given up."""

from __future__ import annotations

from watchducks.model.letters import (
    DAY_SECONDS,
    GIVE_UP_SECONDS,
    Letter,
    LetterKind,
    PostedLetter,
    next_try,
)

NOW = 1_800_000_000


def posted(attempts: int, expires: int = 0) -> PostedLetter:
    letter = Letter(LetterKind.SIGN_IN, "owner@mail.example", expires=expires)
    return PostedLetter(1, letter, NOW, NOW, attempts=attempts)


def test_each_wait_is_twice_the_one_before_up_to_four_hours() -> None:
    waits = [next_try(posted(attempts), NOW) for attempts in (0, 1, 2, 3, 7, 8, 20, 10_000)]
    assert [wait and wait - NOW for wait in waits] == [
        60, 120, 240, 480, 7680, 14_400, 14_400, 14_400
    ]  # fmt: skip


def test_it_is_tried_for_four_days_and_a_few_dozen_times() -> None:
    now, tries = NOW, 0
    while (due := next_try(posted(tries), now)) is not None:
        now, tries = due, tries + 1
    assert 3 * DAY_SECONDS < now - NOW <= GIVE_UP_SECONDS
    assert 20 < tries < 40


def test_what_nobody_wants_any_more_is_not_tried() -> None:
    assert next_try(posted(0, expires=NOW + 59), NOW) is None
    assert next_try(posted(0, expires=NOW + 60), NOW) == NOW + 60
