"""Flow control of what a visitor sends (RFC 9113 section 6.9). Pure."""

from __future__ import annotations

from watchducks.proxy.http2_wire import ErrorCodes, Http2Error


class ReceiveWindow:
    """What a visitor may send, on one stream or on the connection, and what he was told of it.

    What is given back is told in one piece when it is worth a frame: half of the window, or as much
    as he has left, so that he never waits while there is something to tell.
    """

    __slots__ = ("_free", "_half", "_left")

    def __init__(self, size: int) -> None:
        """:param size: in bytes, as he was told."""
        self._left = size
        self._half = size // 2
        self._free = 0

    def take(self, size: int) -> None:
        """He sent ``size`` bytes.

        :raises Http2Error: it is more than he may.
        """
        self._left -= size
        if self._left < 0:
            raise Http2Error(ErrorCodes.FLOW_CONTROL_ERROR, "more than the window allows")

    def give_back(self, size: int) -> int:
        """``size`` bytes are not held any more; return by how much to widen his window now."""
        self._free += size
        if not self._free or self._free < min(self._half, self._left):
            return 0
        free, self._free = self._free, 0
        self._left += free
        return free
