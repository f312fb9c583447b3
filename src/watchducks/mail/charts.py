"""Charts of letters: bars as a PNG, which every mail program shows; SVG is shown by few. Pure.

There are no words in them: these stand around them in the letter, where they can be read aloud and
translated, and for who is shown no pictures.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

# Twice what the letter shows it at, so that it is sharp on dense screens.
WIDTH: Final = 1120
HEIGHT: Final = 240
# Bars of one letter: a month of days at most.
MAX_BARS: Final = 31
_GAP_SHARE: Final = 0.25
# A value that is not zero is seen.
_LEAST_PIXELS: Final = 4
_PALETTE: Final = bytes.fromhex("ffffff0f766ed5dce1")
_BACKGROUND, _BAR, _LINE = 0, 1, 2
_NOT_OBSERVED: Final = _LINE
_LINE_PIXELS: Final = 2


def bar_chart(values: Sequence[float | None]) -> bytes:
    """Return a PNG with a bar for each value; None, what was not observed, is a grey stub."""
    shown = list(values)[-MAX_BARS:]
    most = max((value for value in shown if value), default=0) or 1
    columns: list[tuple[int, int]] = [(0, _BACKGROUND)] * WIDTH
    step = WIDTH / max(1, len(shown))
    room = HEIGHT - _LINE_PIXELS
    for place, value in enumerate(shown):
        start, end = int((place + _GAP_SHARE / 2) * step), int((place + 1 - _GAP_SHARE / 2) * step)
        if value is None:
            bar = (_LEAST_PIXELS, _NOT_OBSERVED)
        else:
            bar = (max(_LEAST_PIXELS, round(room * value / most)) if value > 0 else 0, _BAR)
        columns[start:end] = [bar] * (end - start)
    rows = bytearray()
    for row in range(HEIGHT):
        height = HEIGHT - row
        rows.append(0)  # no filter
        if height <= _LINE_PIXELS:
            rows += bytes([_LINE]) * WIDTH
        else:
            level = height - _LINE_PIXELS
            rows += bytes(colour if level <= top else _BACKGROUND for top, colour in columns)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", _PALETTE),
            # Mail programs in the dark show it on their own background.
            _chunk(b"tRNS", b"\x00"),
            _chunk(b"IDAT", zlib.compress(bytes(rows), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
