"""Accounts: who asks for something, and what he may see and change. Pure.

An owner is his e-mail address: what is registered with it is his. He shows who he is by a session,
which a mailed link begins, or by a token; a token may also stand for one site alone, whoever owns
it. Admins may do everything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from watchducks.model.problems import Problem
from watchducks.model.sites import Site, Visibility

# A link is used within minutes; in a mailbox that somebody else reads later it is of no use.
LINK_SECONDS: Final = 15 * 60
# Links of one address that are good at a time: who asks again has not got the one before.
MAX_LINKS: Final = 5
# A month: owners look once in a while, and a link is sent within seconds.
SESSION_SECONDS: Final = 30 * 24 * 3600
# Sessions of one address: browsers and phones of one person, and the office's.
MAX_SESSIONS: Final = 20
# Tokens that one owner has made; one for each program, and room for forgotten ones.
MAX_TOKENS: Final = 50
MAX_LABEL_CHARACTERS: Final = 63
# The last use is kept to the hour, so that a program that asks every second writes 24 times a day.
USED_SECONDS: Final = 3600

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Scope(StrEnum):
    """What a token is good for."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks. The default is anybody.

    :ivar email: whose account speaks; "": none does.
    :ivar admin: he may see and change everything, as far as ``write`` goes.
    :ivar site_id: a token's that is good for one site only; None: for all of the account's.
    :ivar write: whether he may change what is his.
    :ivar shares: the secrets of unlisted sites' links that he has followed.
    :ivar owned: ids of sites whose tokens he has shown.
    :ivar session: whether he is signed in, and so a person in front of the console.
    :ivar name: as the audit trail calls him; "": it says nobody.
    :ivar time_zone: IANA name of the one in which he sees figures; "": he has chosen none.
    """

    email: str = ""
    admin: bool = False
    site_id: int | None = None
    write: bool = False
    shares: frozenset[str] = frozenset()
    owned: frozenset[int] = frozenset()
    session: bool = False
    name: str = ""
    time_zone: str = ""

    def owns(self, site: Site) -> bool:
        """Return whether the site is his to see, whoever else may see it."""
        if site.id in self.owned:
            return True
        if self.site_id not in (None, site.id):
            return False
        if self.admin:
            return True
        return self.email == site.email if self.email else self.site_id == site.id

    def may_see(self, site: Site) -> bool:
        """Return whether he may see the site's figures, and that it is there."""
        match site.visibility:
            case Visibility.PUBLIC:
                return True
            case Visibility.UNLISTED:
                return site.share in self.shares or self.owns(site)
            case Visibility.PRIVATE:
                return self.owns(site)

    def speaks_for_account(self) -> bool:
        """Return whether he may see what an account has beside its sites."""
        return bool(self.email) and self.site_id is None

    def manages_account(self) -> bool:
        """Return whether he may change that."""
        return self.write and self.speaks_for_account()

    def may_change(self, site: Site) -> bool:
        """Return whether he may change the site."""
        return site.id in self.owned or (self.write and self.owns(site))


ANYBODY: Final = Viewer()
# The appliance itself, and who has its registry at his command.
EVERYBODY: Final = Viewer(admin=True, write=True)


@dataclass(frozen=True, slots=True)
class Token:
    """A token, as its owner may see it: never the token itself.

    :ivar number: its id. :ivar site: the name of the site that it is good for; "": all of his.
    :ivar made: whether the owner has made it; else it is the one of a registration.
    :ivar created: POSIX seconds. :ivar used: about when it was used last; 0: never.
    """

    number: int
    label: str
    scope: Scope
    site: str
    made: bool
    created: int
    used: int


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something, and from where.

    :ivar name: an address, or what stands for one. :ivar network: his address, shortened
        (:func:`watchducks.model.networks.shortened`); "": not known.
    """

    name: str
    network: str = ""


APPLIANCE: Final = Actor("WatchDucks")
COMMAND_LINE: Final = Actor("command line")


class Act(StrEnum):
    """What was done."""

    REGISTERED = "registered"
    CHANGED = "changed"
    RECORDS = "records"
    DNSSEC = "dnssec"
    REMOVED = "removed"
    STATE = "state"
    SHARED = "shared"
    LINK_MADE = "link-made"
    SIGNED_IN = "signed-in"
    SIGNED_OUT = "signed-out"
    TOKEN_MADE = "token-made"  # noqa: S105
    TOKEN_REVOKED = "token-revoked"  # noqa: S105
    ADMIN_ADDED = "admin-added"
    ADMIN_REMOVED = "admin-removed"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"
    SUSPENDED = "suspended"
    CERTIFICATE = "certificate"
    ACCOUNT_KEY = "account-key"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the audit trail.

    :ivar number: rises. :ivar at: POSIX seconds.
    :ivar site: the name that the site had; "": it concerns none.
    :ivar details: what changed: names of fields, with before and after.
    """

    number: int
    at: int
    actor: Actor
    act: Act
    site_id: int | None
    site: str
    details: dict[str, Any] = field(default_factory=dict)


def token_label(text: object) -> str:
    """Return what an owner calls a token.

    :raises Problem: it is no short text.
    """
    if not isinstance(text, str):
        raise Problem("type", "Enter this field as text.")
    text = text.strip()
    if not text:
        raise Problem("missing", "This field is required.")
    if len(text) > MAX_LABEL_CHARACTERS:
        raise Problem("too-long", "At most {limit} characters.", limit=MAX_LABEL_CHARACTERS)
    if _CONTROL.search(text):
        raise Problem("control-characters", "Remove line breaks and control characters.")
    return text


def token_scope(text: object) -> Scope:
    """Return the scope that is named.

    :raises Problem: there is no such scope.
    """
    try:
        return Scope(str(text))
    except ValueError:
        raise Problem("scope", "Choose read or write.") from None
