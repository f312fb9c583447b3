"""What an exchange needs of the visitor's side: the seam between it and HTTP/1.1 or HTTP/2."""

from __future__ import annotations

from typing import Literal, Protocol

from watchducks.proxy.framing import Trailers
from watchducks.proxy.headers import VisitorFields


class VisitorSide(Protocol):
    """What an exchange needs of the connection, or stream, that its request came by.

    :ivar protocol: as rows name it, such as ``HTTP/1.1``.
    :ivar address: the visitor's IP address.
    :ivar about: the same, as origins are told.
    """

    scheme: Literal["http", "https"]
    protocol: str
    address: str
    about: VisitorFields

    def covers(self, host: str) -> bool:
        """Return whether this connection may carry requests for ``host`` (421 otherwise)."""

    def send_interim(self, status: int, phrase: bytes, lines: list[bytes]) -> None:
        """Pass a 1xx answer on."""

    def begin_answer(self, status: int, phrase: bytes, lines: list[bytes], length: int) -> None:
        """Send the head. ``lines`` are the end-to-end fields, each with its CRLF.

        :param length: of the body that :meth:`send_body` will bring, a length of
            :mod:`watchducks.proxy.framing`.
        """

    def whole_answer(self, status: int, phrase: bytes, lines: list[bytes], body: bytes) -> None:
        """Send an answer that is there as a whole: :meth:`begin_answer`, :meth:`send_body` and
        :meth:`end_answer` in one."""

    def send_body(self, data: bytes) -> None:
        """Send some of the body (not empty)."""

    def begin_tunnel(self, status: int, phrase: bytes, lines: list[bytes]) -> None:
        """Send the head of an answer that changes the protocol: instead of :meth:`begin_answer`.

        From here on :meth:`send_body` and ``request_body`` carry raw bytes, both ways at once,
        until ``request_end`` (the visitor sends no more), or an end of the exchange.
        """

    def send_trailers(self, trailers: Trailers) -> None:
        """Keep ``trailers`` for the end of the answer, which follows at once. Called only if the
        request takes them."""

    def end_answer(self) -> None:
        """The answer is complete, and the exchange over: the next one may begin in this call."""

    def abort_answer(self) -> None:
        """The answer will not be completed, and the visitor must notice. The exchange is over."""

    def pause_request(self) -> None:
        """Deliver no more of the request's body for now. This is how an exchange begins."""

    def resume_request(self) -> None:
        """Deliver (more of) it."""
