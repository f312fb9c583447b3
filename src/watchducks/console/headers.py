"""Header fields of a request, as text that is always there."""

from __future__ import annotations

from twisted.web.http import Request


def header(request: Request, name: bytes) -> str:
    """Return the last field called ``name``, or an empty text.

    Twisted decodes as UTF-8 and raises on anything else; a header may hold any byte (RFC 9110
    section 5.5), so each becomes one character.
    """
    values = request.requestHeaders.getRawHeaders(name) or [b""]
    return values[-1].decode("latin-1")


def accepts_gzip(request: Request) -> bool:
    """Tell whether the Accept-Encoding header allows gzip (RFC 9110 section 12.5.3)."""
    for item in header(request, b"accept-encoding").lower().split(","):
        coding, _, parameters = item.partition(";")
        if coding.strip() in ("gzip", "*"):
            name, _, weight = parameters.partition("=")
            return not (name.strip() == "q" and weight.strip().strip("0.") == "")
    return False
