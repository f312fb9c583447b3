"""The audit trail as people read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from watchducks.console.figures import rfc3339
from watchducks.console.languages import Language, mark
from watchducks.model.accounts import Act, Entry

ACTS: Final[Mapping[Act, str]] = {
    Act.REGISTERED: mark("registered the site"),
    Act.CHANGED: mark("changed the settings"),
    Act.RECORDS: mark("changed the records"),
    Act.DNSSEC: mark("changed the keys of the zone"),
    Act.REMOVED: mark("removed the site"),
    Act.STATE: mark("saw another state"),
    Act.SHARED: mark("made a new link of the site"),
    Act.LINK_MADE: mark("made a link to sign in"),
    Act.SIGNED_IN: mark("signed in"),
    Act.SIGNED_OUT: mark("signed out"),
    Act.TOKEN_MADE: mark("made a token"),
    Act.TOKEN_REVOKED: mark("revoked a token"),
    Act.ADMIN_ADDED: mark("made somebody an admin"),
    Act.ADMIN_REMOVED: mark("made somebody no admin any more"),
    Act.BLOCKED: mark("blocked registrations"),
    Act.UNBLOCKED: mark("allowed registrations again"),
    Act.SUSPENDED: mark("suspended the site, or let it go on"),
    Act.CERTIFICATE: mark("changed the certificate"),
    Act.ACCOUNT_KEY: mark("changed the keys of our accounts at certificate authorities"),
}


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """One line.

    :ivar details: names of what changed, each with what it was (None: nothing was told) and is.
    """

    at: int
    actor: str
    network: str
    act: str
    site: str
    details: list[tuple[str, str | None, str]]


def shown_entries(entries: Iterable[Entry], language: Language) -> list[ShownEntry]:
    """Return entries in words of ``language``."""
    return [
        ShownEntry(
            entry.at,
            entry.actor.name,
            entry.actor.network,
            language.gettext(ACTS[entry.act]),
            entry.site,
            [_detail(name, value) for name, value in entry.details.items()],
        )
        for entry in entries
    ]


def _detail(name: str, value: object) -> tuple[str, str | None, str]:
    if isinstance(value, list) and len(value) == 2:
        return name, str(value[0]), str(value[1])
    return name, None, str(value)


def entry_document(entry: Entry) -> dict[str, Any]:
    """Return an entry as the API shows it."""
    return {
        "number": entry.number,
        "at": rfc3339(entry.at),
        "actor": entry.actor.name,
        "network": entry.actor.network,
        "act": entry.act.value,
        "site": entry.site or None,
        "details": entry.details,
    }
