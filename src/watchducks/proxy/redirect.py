"""Visitors who came by http and whose site is to be visited by https. Pure rules."""

from __future__ import annotations

from email.utils import formatdate
from typing import Final
from urllib.parse import quote

from watchducks.proxy.context import CHALLENGE_PATH
from watchducks.proxy.request import Request

# Every visible ASCII byte stays as it was sent; only 8-bit bytes are no part of a URI.
_AS_SENT: Final = "".join(map(chr, range(0x21, 0x7F)))


def is_redirected(request: Request) -> bool:
    """Return whether ``request`` is one that can be sent to https.

    A CA looks for its token by http, and not every CA follows to https.
    """
    return request.target.startswith(b"/") and not request.target.startswith(CHALLENGE_PATH)


def redirect_of(
    request: Request, request_id: bytes, now: float
) -> tuple[int, bytes, list[bytes], bytes]:
    """Return status, phrase, field lines and body of the answer that leads to https.

    To the default port: the visitor's own port, if he named one, is that of http.

    :param now: POSIX seconds, for the Date field.
    """
    # 308 keeps method and body; 301 is understood by everything that only ever reads.
    reads = request.method in (b"GET", b"HEAD")
    location = f"https://{request.host}{quote(request.target, safe=_AS_SENT)}".encode("ascii")
    fields = [
        b"Date: %b\r\nLocation: %b\r\nContent-Length: 0\r\n"
        b"Via: 1.1 watchducks\r\nX-Request-Id: %b\r\n"
        % (formatdate(now, usegmt=True).encode("ascii"), location, request_id)
    ]
    return (
        (301, b"Moved Permanently", fields, b"")
        if reads
        else (308, b"Permanent Redirect", fields, b"")
    )
