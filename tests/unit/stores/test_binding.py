from __future__ import annotations

import pytest

from watchducks.stores.binding import bind


def test_texts_are_literals_whatever_they_hold() -> None:
    text = "o'clock \\ \b\f\r\n\t\0\a\v \ud800 🦆 %s"
    assert bind("SELECT %(text)s", {"text": text}) == (
        r"SELECT 'o\'clock \\ \b\f\r\n\t\0\a\v ? 🦆 %s'"
    )


def test_a_negative_number_does_not_begin_a_comment() -> None:
    assert bind("SELECT 5-%(n)s", {"n": -1}) == "SELECT 5-(-1)"


def test_sequences_are_for_in() -> None:
    assert bind("%(a)s", {"a": (1, "b", 0.5)}) == "(1, 'b', 0.5)"
    with pytest.raises(ValueError, match="empty"):
        bind("%(a)s", {"a": ()})


def test_without_parameters_a_statement_stays_as_it_is() -> None:
    assert bind("SELECT 10 % 3", None) == "SELECT 10 % 3"
    assert bind("SELECT 10 %% 3", {}) == "SELECT 10 % 3"
