"""Frames of ours are what another implementation reads."""

from __future__ import annotations

from hyperframe import frame as theirs
from hypothesis import example, given
from hypothesis import strategies as st

from watchducks.proxy import http2_wire as wire
from watchducks.proxy.http2_limits import MAX_FRAME_BYTES


def parse(data: bytes) -> list[theirs.Frame]:
    frames = []
    while data:
        one, length = theirs.Frame.parse_frame_header(memoryview(data[:9]))
        one.parse_body(memoryview(data[9 : 9 + length]))
        frames.append(one)
        data = data[9 + length :]
    return frames


def test_numbers() -> None:
    sent = wire.goaway(5, wire.ErrorCodes.ENHANCE_YOUR_CALM)
    sent += wire.reset(7, wire.ErrorCodes.CANCEL) + wire.window_update(0, 2**31 - 1)
    sent += wire.settings({wire.INITIAL_WINDOW_SIZE: 1, wire.ENABLE_CONNECT_PROTOCOL: 0})
    away, reset, update, settings = parse(sent)
    assert isinstance(away, theirs.GoAwayFrame)
    assert (away.stream_id, away.last_stream_id, away.error_code) == (0, 5, 11)
    assert isinstance(reset, theirs.RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (7, 8)
    assert isinstance(update, theirs.WindowUpdateFrame)
    assert (update.stream_id, update.window_increment) == (0, 2**31 - 1)
    assert isinstance(settings, theirs.SettingsFrame)
    assert settings.settings == {4: 1, 8: 0}
    assert not settings.flags


@given(size=st.integers(0, 4 * MAX_FRAME_BYTES), end=st.booleans())
@example(size=2 * MAX_FRAME_BYTES, end=True)
def test_a_field_section_of_any_size(size: int, end: bool) -> None:
    block = bytes(size)
    first, *more = parse(wire.section(3, block, end=end))
    assert isinstance(first, theirs.HeadersFrame)
    assert ("END_STREAM" in first.flags) == end
    assert all(isinstance(one, theirs.ContinuationFrame) for one in more)
    data = [one.data for one in (first, *more)]  # type: ignore[attr-defined]
    assert b"".join(data) == block
    assert [len(piece) for piece in data[:-1]] == [MAX_FRAME_BYTES] * len(more)
    ends = ["END_HEADERS" in one.flags for one in (first, *more)]
    assert ends == [False] * len(more) + [True]


@given(data=st.binary(max_size=300), end=st.booleans())
def test_data(data: bytes, end: bool) -> None:
    (one,) = parse(wire.data_header(len(data), 9, end=end) + data)
    assert isinstance(one, theirs.DataFrame)
    assert (one.data, one.stream_id, "END_STREAM" in one.flags) == (data, 9, end)
