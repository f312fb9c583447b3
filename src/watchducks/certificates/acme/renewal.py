"""When a certificate is to be renewed: in the authority's window (RFC 9773), else at two thirds of
its life. Pure."""

from __future__ import annotations

import base64
import datetime
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509

# Of a certificate's life, where the authority names no window: 30 of 90 days are left then, and two
# of six, which is time for many attempts.
LIFE_FRACTION: Final = 2 / 3
# Certificates of one day are renewed over a twentieth of their life, not all in one minute.
JITTER_FRACTION: Final = 0.05
# A certificate is not renewed before it is this old, or a sixth of its life: an authority whose
# window lies in the past for what it has just issued would have us order without end.
MIN_AGE_SECONDS: Final = 6 * 3600.0
MIN_AGE_FRACTION: Final = 1 / 6
# Nor is it renewed later than this share of its life, whatever the authority says: a window behind
# its end would have it expire while it is in use.
MAX_AGE_FRACTION: Final = 5 / 6
# How soon an authority's window is looked at again (RFC 9773 section 4.3.2 wants limits to it).
MIN_INFO_SECONDS: Final = 60.0
MAX_INFO_SECONDS: Final = 86_400.0
USUAL_INFO_SECONDS: Final = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Window:
    """When the authority wants a renewal: POSIX seconds; and in how many to ask for it again."""

    start: float
    end: float
    again_seconds: float


def renewal_id(leaf: x509.Certificate) -> str:
    """Return the certificate's name in RFC 9773 (section 4.1), or "" if it has none."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        return ""
    key_id = found.value.key_identifier
    if key_id is None:
        return ""
    number = leaf.serial_number
    # DER's INTEGER: one more octet where the first bit is set.
    serial = number.to_bytes(number.bit_length() // 8 + 1)
    return f"{_base64url(key_id)}.{_base64url(serial)}"


def read_window(document: dict[str, Any], retry_seconds: float | None) -> Window | None:
    """Return the window of a renewal info, or None if it is none."""
    suggested = document.get("suggestedWindow")
    if not isinstance(suggested, dict):
        return None
    start, end = _time(suggested.get("start")), _time(suggested.get("end"))
    if start is None or end is None or end < start:
        return None
    again = USUAL_INFO_SECONDS if retry_seconds is None else retry_seconds
    return Window(start, end, min(max(again, MIN_INFO_SECONDS), MAX_INFO_SECONDS))


def due_at(not_before: float, not_after: float, window: Window | None, share: float) -> float:
    """Return when to renew, in POSIX seconds.

    :param share: 0 up to 1, always the same for one certificate: where in the window, or how much
        of the jitter.
    """
    life = not_after - not_before
    if window is not None:
        youngest = not_before + min(MIN_AGE_SECONDS, life * MIN_AGE_FRACTION)
        wanted = window.start + (window.end - window.start) * share
        return min(max(wanted, youngest), not_before + life * MAX_AGE_FRACTION)
    return not_before + life * (LIFE_FRACTION - JITTER_FRACTION * share)


def _time(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.datetime.fromisoformat(value)
        return found.timestamp() if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
