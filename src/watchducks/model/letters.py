"""Letters: what owners are told by mail, before it is a message. Pure.

A part that wants to tell somebody something posts a letter: its kind and the facts. The letter lies
in the registry until a mail server has taken it; the words are found when it is sent, in the
owner's language.

A letter's way: waiting -> taken (by one host, for a while) -> sent; or, after days of failures or
when nobody wants it any more, given up, which stays visible for as long as what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from watchducks.model.sites import Site

# A site's letters in 24 hours, its owner's sign-in links apart. A day with everything going wrong
# has a few of each kind; more is a fault of ours that must not fill somebody's mailbox.
SITE_LETTERS_A_DAY: Final = 12
# Letters of one kind to one address in 24 hours. Who registers with somebody else's address, or
# asks for links in his name, sends him no more than this.
RECIPIENT_LETTERS_A_DAY: Final = 20
DAY_SECONDS: Final = 24 * 3600

# One conversation with a mail server takes a minute at most; whoever took the letter and died is
# given up after this, and another host sends it.
LEASE_SECONDS: Final = 300
# Greylisting servers want a second try after some minutes, and outages last hours: each wait is
# twice the one before, up to four hours, for as long as other mail servers try (RFC 5321 section
# 4.5.4.1: four to five days).
FIRST_WAIT_SECONDS: Final = 60
MAX_WAIT_SECONDS: Final = 4 * 3600
GIVE_UP_SECONDS: Final = 4 * DAY_SECONDS
# What was sent or given up can be looked at for this long, and its topic is not told twice.
KEPT_SECONDS: Final = 35 * DAY_SECONDS
# The fact whose value is sealed, and what the seal belongs to, before the recipient.
SEALED: Final = "sealed"
SEAL_CONTEXT: Final = b"a letter to "
# What a failure said is kept that long, for the sysadmin.
MAX_REASON_CHARACTERS: Final = 300


class LetterKind(StrEnum):
    """What a letter is about; the names of its templates."""

    REGISTRATION = "registration"
    SIGN_IN = "sign-in"
    DELEGATED = "delegated"
    MOVED = "moved"
    FAREWELL = "farewell"
    FORGOTTEN = "forgotten"
    CERTIFICATE = "certificate"
    FAILOVER_BEGAN = "failover-began"
    FAILOVER_ENDED = "failover-ended"
    SUSPENDED = "suspended"
    REPORT = "report"
    SPIKE = "spike"
    DROP = "drop"
    ERRORS = "errors"


class LetterState(StrEnum):
    """Where a letter is."""

    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given-up"


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter to be posted.

    :ivar recipient: an e-mail address, normalised.
    :ivar site_id: of the site that it is about; None: of none. It may have left by now.
    :ivar facts: what the words need, as JSON has it; no secret, unless it is sealed.
    :ivar language: a code of ours; "": not known, so it is told in all of them.
    :ivar topic: what it is about, so that it is posted once, whoever posts it again; "": always.
    :ivar expires: POSIX seconds after which nobody wants it any more; 0: none.
    """

    kind: LetterKind
    recipient: str
    site_id: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    language: str = ""
    topic: str = ""
    expires: int = 0


@dataclass(frozen=True, slots=True)
class PostedLetter:
    """A letter in the registry.

    :ivar number: the letter's own, which rises; the order in which a recipient gets his.
    :ivar posted: POSIX seconds.
    :ivar attempts: how often it was tried to send it.
    :ivar due: when it is tried next. :ivar reason: why the last try failed; "": none did.
    """

    number: int
    letter: Letter
    posted: int
    due: int
    state: LetterState = LetterState.WAITING
    attempts: int = 0
    reason: str = ""


class Undeliverable(Exception):
    """The mail server refuses this letter for good; the text is one line for the sysadmin."""


class Unsent(Exception):
    """It could not be sent now; later it may. The text is one line for the sysadmin."""


def next_try(posted: PostedLetter, now: int) -> int | None:
    """Return when to try again after a try that failed at ``now``; None: it is given up."""
    wait = min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(posted.attempts, 16))
    last = posted.posted + GIVE_UP_SECONDS
    if posted.letter.expires:
        last = min(last, posted.letter.expires)
    return now + wait if now + wait <= last else None


def site_letter(
    kind: LetterKind,
    site: Site,
    facts: Mapping[str, Any] | None = None,
    *,
    topic: str = "",
    language: str = "",
) -> Letter:
    """Return a letter to the owner of ``site``, with what every such letter names."""
    named = {"site": site.name, "domain": site.domain, "zone": site.zone, **(facts or {})}
    topic = f"{kind.value}:{site.id}:{topic}" if topic else ""
    return Letter(kind, site.email, site.id, named, language, topic)


class Post(Protocol):
    """Takes letters: :class:`watchducks.registry.mailbag.Mailbag`."""

    async def post(self, letter: Letter) -> bool:
        """Keep a letter until it is sent; False: not this one, because its topic was told already
        or its site or recipient had too many today.

        :raises StoreUnavailable: nobody can keep it now.
        """
