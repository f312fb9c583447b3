"""Subjects: what letters an owner may have no more of, by subject and by site. Pure.

What he has to know is no subject: what he asked for himself (the name servers after a registration,
a link to sign in), and that his site is suspended, will be forgotten, or is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from watchducks.model.letters import Letter, LetterKind

# Of a letter about no single site.
ALL_SITES: Final = 0


class Subject(StrEnum):
    """What letters are about, as far as one may have no more of them; fields of forms, too."""

    REPORT = "report"
    SPIKE = "spike"
    DROP = "drop"
    ERRORS = "errors"
    CERTIFICATE = "certificate"
    NAME_SERVERS = "name_servers"
    FAILOVER = "failover"


_SUBJECTS: Final[Mapping[LetterKind, Subject]] = {
    LetterKind.DELEGATED: Subject.NAME_SERVERS,
    LetterKind.MOVED: Subject.NAME_SERVERS,
    LetterKind.CERTIFICATE: Subject.CERTIFICATE,
    LetterKind.FAILOVER_BEGAN: Subject.FAILOVER,
    LetterKind.FAILOVER_ENDED: Subject.FAILOVER,
    LetterKind.REPORT: Subject.REPORT,
    LetterKind.SPIKE: Subject.SPIKE,
    LetterKind.DROP: Subject.DROP,
    LetterKind.ERRORS: Subject.ERRORS,
}
# Letters that name all of an owner's sites at once.
OF_ALL_SITES: Final = frozenset({Subject.FAILOVER})
OF_ONE_SITE: Final = tuple(subject for subject in Subject if subject not in OF_ALL_SITES)


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a letter's link stops.

    :ivar email: whose letters. :ivar site_id: about which site; :data:`ALL_SITES`: about no single
        one.
    """

    email: str
    site_id: int
    subject: Subject

    def pack(self) -> bytes:
        """Return it as a link has it, before it is sealed."""
        return f"{self.subject} {self.site_id} {self.email}".encode()

    @classmethod
    def unpack(cls, octets: bytes) -> Subscription:
        """Return what :meth:`pack` was given. :raises ValueError: it was given nothing such."""
        subject, site_id, email = octets.decode().split(" ", 2)
        return cls(email, int(site_id), Subject(subject))


def subscription_of(letter: Letter) -> Subscription | None:
    """Return what a letter belongs to; None: nobody may have no more of its kind."""
    subject = _SUBJECTS.get(letter.kind)
    if subject is None:
        return None
    site_id = ALL_SITES if subject in OF_ALL_SITES else letter.site_id or ALL_SITES
    return Subscription(letter.recipient, site_id, subject)


def kinds_of(subject: Subject) -> list[LetterKind]:
    """Return the kinds of letters about a subject."""
    return [kind for kind, its in _SUBJECTS.items() if its is subject]
