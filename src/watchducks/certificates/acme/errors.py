"""What can go wrong at a certificate authority, told apart by what to do about it."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from typing import Final, NamedTuple

_PREFIX: Final = "urn:ietf:params:acme:error:"
# Longer words of a stranger are of no use to anybody who reads a log.
MAX_WORDS: Final = 500
# No authority means a longer wait than a day; one that says so is asked again after a day.
MAX_RETRY_SECONDS: Final = 86_400.0


class AcmeError(Exception):
    """The authority refused; asking again in the same way would not help. Base of all others.

    :ivar kind: the last part of RFC 8555's error type, or "".
    :ivar retry_seconds: not before that many seconds, if it said so.
    """

    def __init__(self, text: str, *, kind: str = "", retry_seconds: float | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.retry_seconds = retry_seconds


class Unavailable(AcmeError):
    """No answer, or one that says "later": nothing is wrong with what was asked."""


class RateLimited(AcmeError):
    """Too many requests, orders or certificates."""


class Reason(NamedTuple):
    """Why a name was rejected: RFC 8555's error type or "", and the authority's words."""

    kind: str
    words: str


class Rejected(AcmeError):
    """Some names could not be validated, or are not allowed.

    :ivar names: each with the reason.
    """

    def __init__(self, names: Mapping[str, Reason], *, kind: str = "") -> None:
        text = "; ".join(f"{name}: {reason.words}" for name, reason in names.items())
        super().__init__(text, kind=kind)
        self.names = dict(names)


def problem(status: int, document: object, retry_seconds: float | None) -> AcmeError:
    """Return what an answer with an error status means.

    :param document: its body, an RFC 7807 document if the authority keeps to RFC 8555.
    """
    found = document if isinstance(document, dict) else {}
    kind = kind_of(found)
    words = f"{words_of(found) or 'no reason given'} ({kind or f'status {status}'})"
    if status == 429 or kind == "rateLimited":
        return RateLimited(words, kind=kind, retry_seconds=retry_seconds)
    if status >= 500 and kind in ("", "serverInternal"):
        return Unavailable(words, kind=kind, retry_seconds=retry_seconds)
    names = _rejected_names(found)
    if names:
        return Rejected(names, kind=kind)
    return AcmeError(words, kind=kind, retry_seconds=retry_seconds)


def kind_of(document: Mapping[str, object]) -> str:
    """Return the error type of a problem document, without what all have in common."""
    return str(document.get("type", "")).removeprefix(_PREFIX)[:MAX_WORDS]


def reason_in(document: object) -> Reason:
    """Return kind and words of a problem document."""
    found = document if isinstance(document, dict) else {}
    return Reason(kind_of(found), words_of(found) or "no reason given")


def words_of(document: object) -> str:
    """Return the reason that a problem document gives, made fit for a log."""
    detail = document.get("detail") if isinstance(document, dict) else None
    text = detail if isinstance(detail, str) else ""
    return "".join(char if char.isprintable() else " " for char in text[:MAX_WORDS])


def _rejected_names(document: Mapping[str, object]) -> dict[str, Reason]:
    """Return the names that subproblems are about (RFC 8555 section 6.7.1)."""
    subproblems = document.get("subproblems")
    names: dict[str, Reason] = {}
    for entry in subproblems if isinstance(subproblems, list) else ():
        identifier = entry.get("identifier") if isinstance(entry, dict) else None
        if isinstance(identifier, dict) and isinstance(identifier.get("value"), str):
            names[identifier["value"].lower()] = reason_in(entry)
    return names


def retry_after(value: str | None, now: float) -> float | None:
    """Return a Retry-After (RFC 9110 section 10.2.3) in seconds from ``now``; None: none, or junk.

    :param now: POSIX seconds.
    """
    if value is None:
        return None
    if value.isascii() and value.isdigit() and len(value) < 10:
        seconds = float(value)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_SECONDS)
