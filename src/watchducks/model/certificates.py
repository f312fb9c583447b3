"""How far a site is on its way to a certificate, and what keeps it from one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from watchducks.model.scans import Note

# Longer words of a stranger tell an owner no more.
MAX_WORDS: Final = 300


class Trouble(StrEnum):
    """Why there is no certificate, told apart by what an owner can do about it."""

    NONE = ""
    DNS = "dns"
    CAA = "caa"
    UNREACHED = "unreached"
    WRONG_ANSWER = "wrong-answer"
    REFUSED_NAME = "refused-name"
    RATE_LIMITED = "rate-limited"
    AWAY = "away"
    OTHER = "other"
    LATE = "late"
    FILE = "file"


# The error types of RFC 8555 section 6.7 that speak of one name.
_TROUBLES: Final = {
    "dns": Trouble.DNS,
    "caa": Trouble.CAA,
    "connection": Trouble.UNREACHED,
    "tls": Trouble.UNREACHED,
    "unauthorized": Trouble.WRONG_ANSWER,
    "incorrectResponse": Trouble.WRONG_ANSWER,
    "rejectedIdentifier": Trouble.REFUSED_NAME,
    "unsupportedIdentifier": Trouble.REFUSED_NAME,
    "rateLimited": Trouble.RATE_LIMITED,
}


def trouble_of(kind: str) -> Trouble:
    """Return what an error of this type (the last part of its URN) means for an owner."""
    return _TROUBLES.get(kind, Trouble.OTHER)


@dataclass(frozen=True, slots=True)
class CertificateProgress:
    """Of one site. All times are POSIX seconds, 0: not yet.

    :ivar ordered: when its certificate was last ordered.
    :ivar issued: when the present one came. :ivar expires: when it ends.
    :ivar failed: when the last attempt failed; 0: it did not.
    :ivar trouble: why. :ivar host: whose name is to blame, or "". :ivar words: the authority's.
    :ivar retry: when it is tried again. :ivar soonest: when the authority's limits allow it at the
        earliest, should the owner ask for it.
    """

    ordered: int = 0
    issued: int = 0
    expires: int = 0
    failed: int = 0
    trouble: Trouble = Trouble.NONE
    host: str = ""
    words: str = ""
    retry: int = 0
    soonest: int = 0

    @classmethod
    def unpack(cls, packed: Mapping[str, Any]) -> CertificateProgress:
        """Return what ``asdict`` made of one.

        :raises ValueError, TypeError: it was not packed by us.
        """
        return cls(**{**packed, "trouble": Trouble(packed.get("trouble", ""))})


@dataclass(frozen=True, slots=True)
class CertificateFailure:
    """Why an attempt failed. :ivar host: whose name is to blame, or ""."""

    trouble: Trouble
    words: str
    host: str = ""


def after_order(before: CertificateProgress, now: int) -> CertificateProgress:
    """Return the progress when the certificate was ordered."""
    return replace(before, ordered=now)


def after_issue(before: CertificateProgress, now: int, expires: int) -> CertificateProgress:
    """Return the progress when the certificate came; what kept it away is forgotten."""
    return CertificateProgress(ordered=before.ordered, issued=now, expires=expires)


def after_failure(
    before: CertificateProgress,
    failure: CertificateFailure,
    now: int,
    retry: int,
    soonest: int | None = None,
) -> CertificateProgress:
    """Return the progress when an attempt failed.

    :param soonest: None: nobody's asking makes the next attempt come before ``retry``.
    """
    return replace(
        before,
        failed=now,
        trouble=failure.trouble,
        host=failure.host,
        words=failure.words[:MAX_WORDS],
        retry=retry,
        soonest=retry if soonest is None else soonest,
    )


def after_look(before: CertificateProgress, now: int, expires: int) -> CertificateProgress:
    """Return the progress when a certificate was seen that is none of ours: given as files.

    It is what visitors are shown if it ends later than ours. That it ends soon is trouble, unless
    there is trouble already, which tells more.
    """
    if before.issued and before.expires > expires:
        return before
    trouble = Trouble.FILE if expires - now <= ENDS_SOON_SECONDS else Trouble.NONE
    if before.trouble not in (Trouble.NONE, Trouble.FILE):
        return replace(before, expires=expires)
    return replace(before, expires=expires, trouble=trouble)


def after_click(before: CertificateProgress, now: int) -> CertificateProgress:
    """Return the progress when the owner asks for another attempt: it is made as soon as may be.

    The same as before: nothing has failed, or it cannot be made any sooner.
    """
    if before.trouble is Trouble.NONE:
        return before
    return replace(before, retry=min(before.retry, max(now, before.soonest)))


_NOTES: Final = {
    Trouble.DNS: Note(
        "certificate-dns",
        "The certificate authority could not look up {host}. Are all name servers at your"
        " registrar ours, and is no DS record of a former provider left? It said: {words}",
    ),
    Trouble.CAA: Note(
        "certificate-caa",
        "A CAA record of {host} forbids our certificate authority to issue. Remove it, or add our"
        " authority to it. It said: {words}",
    ),
    Trouble.UNREACHED: Note(
        "certificate-unreached",
        "The certificate authority could not reach {host} at our servers. Are all name servers at"
        " your registrar ours? It said: {words}",
    ),
    Trouble.WRONG_ANSWER: Note(
        "certificate-wrong-answer",
        "The certificate authority was answered for {host} by somebody else. Name servers that are"
        " not ours, or a change that has not arrived everywhere, are the usual reasons."
        " It said: {words}",
    ),
    Trouble.REFUSED_NAME: Note(
        "certificate-refused-name",
        "The certificate authority issues nothing for {host}. It said: {words}",
    ),
    Trouble.RATE_LIMITED: Note(
        "certificate-rate-limited",
        "The certificate authority has issued as much as it does for now. We try again by"
        " ourselves; you need not do anything. It said: {words}",
    ),
    Trouble.AWAY: Note(
        "certificate-away",
        "The certificate authority does not answer. We try again by ourselves; you need not do"
        " anything.",
    ),
    Trouble.OTHER: Note(
        "certificate-other",
        "The certificate authority refused. We try again by ourselves. It said: {words}",
    ),
    Trouble.LATE: Note("certificate-late", "It could not be renewed yet."),
    Trouble.FILE: Note(
        "certificate-file",
        "It was given to us as files, and ends soon. Whoever runs this service has to renew it.",
    ),
}
# What lets a certificate of somebody else's end is told this long before.
ENDS_SOON_SECONDS: Final = 14 * 86_400


def note_of(found: CertificateProgress) -> Note | None:
    """Return why there is no certificate, or no new one, and what to do; None: nothing is wrong."""
    note = _NOTES.get(found.trouble)
    if note is None:
        return None
    return replace(note, parameters={"host": found.host, "words": found.words})


@dataclass(frozen=True, slots=True)
class KeptPair:
    """A certificate with its key, as the registry keeps and shares it.

    :ivar bundle: what it is called. :ivar pem: the chain, leaf first, and then the key, which is a
        secret; None: there is none any more.
    :ivar authority: what the authority that made it is called.
    """

    bundle: str
    pem: bytes | None = field(repr=False)
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the keeper of certificates is asked for: another attempt, soon, for this zone."""

    zone: str


# Another key for each of our accounts.
ACCOUNT_KEYS: Final = Wish("")
# Between two times of asking for them over the API: authorities count changes of keys, and nobody
# needs more.
ACCOUNT_KEYS_SECONDS: Final = 600
