"""Frames are cut out of any pieces, and counted before anything is done about them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.proxy.http2_frames import Budget, FrameReader, data_length
from watchducks.proxy.http2_limits import Allowance, Http2Limits
from watchducks.proxy.http2_wire import PREFACE, ErrorCodes, Frame, Http2Error

SETTINGS = bytes(3) + b"\x04\x00" + bytes(4)
OPENING = PREFACE + SETTINGS
DATA, HEADERS, PRIORITY, RST, SET, PING, AWAY, WINDOW, MORE = 0, 1, 2, 3, 4, 6, 7, 8, 9


def frame(kind: int, flags: int = 0, stream_id: int = 1, payload: bytes = b"") -> bytes:
    length = len(payload).to_bytes(3, "big")
    return length + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def read(data: bytes, now: float = 0.0, limits: Http2Limits | None = None) -> list[Frame]:
    reader = FrameReader(limits or Http2Limits(), now)
    reader.feed(data)
    return drain(reader, now)


def drain(reader: FrameReader, now: float = 0.0) -> list[Frame]:
    frames = []
    while (one := reader.take(now)) is not None:
        frames.append(one)
    return frames


@given(
    payloads=st.lists(
        st.tuples(st.sampled_from([0, 1, 8, 77]), st.binary(max_size=40)), max_size=9
    ),
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=50),
)
def test_any_pieces_make_the_same_frames(
    payloads: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    sent = [Frame(kind, 5, 1, payload) for kind, payload in payloads]
    data = OPENING + b"".join(frame(*one) for one in sent)
    reader = FrameReader(Http2Limits(), 0.0)
    got: list[Frame] = []
    at = 0
    while at < len(data):
        size = cuts[len(got) % len(cuts)]
        reader.feed(data[at : at + size])
        got += drain(reader)
        at += size
    assert got == [Frame(SET, 0, 0, b""), *sent]
    assert not reader.owes


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n", ErrorCodes.PROTOCOL_ERROR),
        (b"PRI * HTTP/2.0\r\n\r\nXX", ErrorCodes.PROTOCOL_ERROR),
        (PREFACE + frame(PING, 0, 0, bytes(8)), ErrorCodes.PROTOCOL_ERROR),
        (PREFACE + frame(SET, 1, 0), ErrorCodes.PROTOCOL_ERROR),
        (OPENING + b"\x00\x40\x01\x00\x00" + bytes(4), ErrorCodes.FRAME_SIZE_ERROR),
        (OPENING + b"\xff\xff\xff\x00\x00" + bytes(4), ErrorCodes.FRAME_SIZE_ERROR),
        (OPENING + frame(MORE, 4), ErrorCodes.PROTOCOL_ERROR),
        (OPENING + frame(HEADERS, 0) + frame(DATA), ErrorCodes.PROTOCOL_ERROR),
        (OPENING + frame(HEADERS, 0) + frame(HEADERS, 4), ErrorCodes.PROTOCOL_ERROR),
        (OPENING + frame(HEADERS, 4) + frame(MORE, 4), ErrorCodes.PROTOCOL_ERROR),
        (OPENING + frame(AWAY, 0, 0, bytes(7)), ErrorCodes.FRAME_SIZE_ERROR),
        (OPENING + frame(AWAY, 0, 1, bytes(8)), ErrorCodes.PROTOCOL_ERROR),
    ],
)
def test_what_is_no_http2_ends_it(data: bytes, code: ErrorCodes) -> None:
    with pytest.raises(Http2Error) as error:
        read(data)
    assert error.value.code is code


@pytest.mark.parametrize(
    ("one", "allowance"),
    [
        (frame(RST, 0, 1, bytes(4)), "resets"),
        (frame(SET, 0, 0), "settings"),
        (frame(SET, 1, 0), "settings"),
        (frame(PING, 0, 0, bytes(8)), "pings"),
        (frame(PING, 1, 0, bytes(8)), "pings"),
        (frame(WINDOW, 0, 0, b"\0\0\0\1"), "window_updates"),
        (frame(DATA), "empty_data"),
        (frame(DATA, 8, 1, b"\x03" + bytes(3)), "empty_data"),
        (frame(PRIORITY, 0, 1, bytes(5)), "others"),
        (frame(0x10, 0, 0, bytes(9)), "others"),
        (frame(0x77), "others"),
    ],
)
def test_too_many_of_a_kind_are_too_many(one: bytes, allowance: str) -> None:
    limits = Http2Limits(**{allowance: Allowance(5, 1.0)})  # type: ignore[arg-type]
    reader = FrameReader(limits, 0.0)
    reader.feed(PREFACE + SETTINGS)
    drain(reader)
    allowed = 4 if allowance == "settings" else 5
    reader.feed(one * allowed)
    assert len(drain(reader)) == allowed
    reader.feed(one)
    assert len(drain(reader, 1.0)) == 1  # one a second for ever
    reader.feed(one)
    with pytest.raises(Http2Error) as error:
        reader.take(1.0)
    assert error.value.code is ErrorCodes.ENHANCE_YOUR_CALM


def test_data_with_something_in_it_is_never_too_much() -> None:
    limits = Http2Limits(empty_data=Allowance(0, 0.0))
    data = OPENING + frame(DATA, 0, 1, b"x") + frame(DATA, 8, 1, b"\x02x" + bytes(2))
    assert len(read(data + frame(DATA, 1), limits=limits)) == 4


def test_field_sections_are_bounded_before_they_are_complete() -> None:
    limits = Http2Limits(head_block_bytes=100, continuations=3)
    begin = OPENING + frame(HEADERS, 0, 1, bytes(60))
    assert read(begin + frame(MORE, 4, 1, bytes(40)), limits=limits)
    with pytest.raises(Http2Error) as error:
        read(begin + frame(MORE, 4, 1, bytes(41))[:9], limits=limits)
    assert error.value.code is ErrorCodes.ENHANCE_YOUR_CALM
    with pytest.raises(Http2Error):
        read(begin + frame(MORE) * 4, limits=limits)
    assert read(begin + frame(MORE) * 2 + frame(MORE, 4), limits=limits)


def test_window_updates_are_earned_by_data_but_not_by_crumbs() -> None:
    limits = Http2Limits(window_updates=Allowance(2, 0.0))
    update = frame(WINDOW, 0, 0, b"\0\0\0\1")
    reader = FrameReader(limits, 0.0)
    reader.feed(OPENING + update * 2)
    drain(reader)
    reader.data_sent(16_384, last=False)
    reader.feed(update * 2)
    assert len(drain(reader)) == 2
    reader.data_sent(1, last=True)
    reader.feed(update)
    assert len(drain(reader)) == 1
    reader.data_sent(1, last=False)
    reader.feed(update * 2)
    with pytest.raises(Http2Error):
        drain(reader)


def test_what_must_be_completed_soon() -> None:
    reader = FrameReader(Http2Limits(), 0.0)

    def owes(data: bytes) -> bool:
        reader.feed(data)
        drain(reader)
        return reader.owes

    assert reader.owes
    assert owes(PREFACE)
    assert not owes(SETTINGS)
    assert owes(frame(HEADERS, 4, 1, b"ab")[:10])
    assert not owes(b"b")
    assert owes(frame(HEADERS, 0, 1, b"ab"))
    assert not owes(frame(MORE, 4))
    assert not owes(frame(DATA, 0, 1, b"ab")[:10])  # its stream has a limit of its own


def test_a_budget_refills_but_never_above_its_burst() -> None:
    budget = Budget(Allowance(2, 1.0), 0.0)
    assert [budget.spend(0.0) for _ in range(3)] == [True, True, False]
    assert [budget.spend(1.0) for _ in range(2)] == [True, False]
    assert [budget.spend(100.0) for _ in range(3)] == [True, True, False]
    budget.credit(9)
    assert [budget.spend(100.0) for _ in range(3)] == [True, True, False]


def test_padding_is_no_data() -> None:
    assert data_length(Frame(DATA, 0, 1, b"abc")) == 3
    assert data_length(Frame(DATA, 8, 1, b"\x01ab")) == 1
    assert data_length(Frame(DATA, 8, 1, b"\xffab")) < 0
