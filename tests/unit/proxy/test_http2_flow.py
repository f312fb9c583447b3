"""A visitor's window: he never waits for what is free, and is told in few pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.proxy.http2_flow import ReceiveWindow
from watchducks.proxy.http2_wire import ErrorCodes, Http2Error


@given(size=st.integers(1, 1000), steps=st.lists(st.tuples(st.booleans(), st.integers(1, 400))))
def test_whoever_sends_what_he_may_is_never_stuck_nor_wrong(
    size: int, steps: list[tuple[bool, int]]
) -> None:
    window = ReceiveWindow(size)
    told, held = size, 0
    for sends, amount in steps:
        if sends:
            sent = min(amount, told)
            window.take(sent)
            told, held = told - sent, held + sent
        else:
            freed = min(amount, held)
            told += window.give_back(freed)
            held -= freed
        assert told + held <= size
        if held == 0:
            assert told > 0


def test_what_is_free_is_told_in_halves() -> None:
    window = ReceiveWindow(1000)
    window.take(600)
    assert [window.give_back(100) for _ in range(4)] == [0, 0, 0, 400]
    window.take(400)
    assert window.give_back(499) == 499


def test_who_has_nothing_left_is_told_of_every_byte() -> None:
    window = ReceiveWindow(1000)
    window.take(1000)
    assert window.give_back(1) == 1


def test_more_than_he_may_is_an_error() -> None:
    window = ReceiveWindow(1000)
    window.take(1000)
    with pytest.raises(Http2Error) as error:
        window.take(1)
    assert error.value.code is ErrorCodes.FLOW_CONTROL_ERROR
