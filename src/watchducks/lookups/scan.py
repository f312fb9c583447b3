"""Everything about a domain before its name servers are changed: the scan."""

from __future__ import annotations

import secrets
from collections.abc import Collection as Several
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import dns.name
from dns import rdatatype
from dns.name import Name
from twisted.internet.interfaces import IReactorTime

from watchducks.lookups import usual
from watchducks.lookups.asking import Asking
from watchducks.lookups.client import LookupFailed, Server
from watchducks.lookups.found import MAX_LISTED, Collection
from watchducks.lookups.message import Found
from watchducks.lookups.panel import Asks, Panel
from watchducks.lookups.servers import Delegation, Directory, Zone
from watchducks.lookups.together import attempt_all, within
from watchducks.model.scans import Note, Scan

# For the zone's records, once its servers are known: an owner waits for it in front of a page.
SCAN_SECONDS: Final = 8.0
# Of these, for zone transfers. Who refuses them does so at once; who lets the packets disappear
# must leave time for the questions.
TRANSFER_SECONDS: Final = 3.0
# Servers that are asked for a transfer; all of a zone's servers allow it, or none, nearly always.
MAX_TRANSFERS: Final = 4


class Scanner:
    """Scans zones. Never raises LookupFailed: what could not be found out is in the notes.

    :param own_names: our own name servers, which know nothing that we do not.
    """

    def __init__(
        self,
        directory: Directory,
        client: Asks,
        *,
        own_names: Several[str],
        clock: IReactorTime,
        seconds: float = SCAN_SECONDS,
    ) -> None:
        self._directory = directory
        self._client = client
        self._own_names = frozenset(own_names)
        self._clock = clock
        self._seconds = seconds

    async def scan(self, zone: str) -> Scan:
        """Return what ``zone`` (lower case, A-labels) holds at its present name servers."""
        name = dns.name.from_text(zone)
        found, delegation = await self._both(name)
        if isinstance(delegation, LookupFailed):
            note = Note(
                "ds-unknown",
                "Whether the domain has a DS record could not be found out: {reason}.",
                {"reason": str(delegation)},
            )
            return replace(found, notes=(*found.notes, note))
        return replace(found, ds=delegation.ds)

    async def _both(self, zone: Name) -> tuple[Scan, Delegation | LookupFailed]:
        records, delegation = await attempt_all(
            [self._records_of(zone), self._directory.delegation(zone)]
        )
        assert isinstance(records, Scan)
        assert isinstance(delegation, Delegation | LookupFailed)
        return records, delegation

    async def _records_of(self, zone: Name) -> Scan:
        try:
            present = await self._directory.zone_of(zone)
        except LookupFailed as error:
            return Scan(notes=(_not_found(str(error)),))
        servers = tuple(s for s in present.servers if s.name not in self._own_names)
        served = present.name.to_text(omit_final_dot=True).lower()
        if not servers:
            note = Note(
                "ours-already",
                "The domain's name servers are ours already: what it held before cannot be asked.",
            )
            return Scan(served=served, notes=(note,))
        addresses = self._directory.at(servers)
        if not addresses:
            return Scan(
                servers=servers,
                served=served,
                notes=(_not_found("its name servers have no addresses"),),
            )
        return await self._scan(zone, Zone(present.name, servers), addresses, served)

    async def _scan(
        self, zone: Name, present: Zone, addresses: Sequence[Server], served: str
    ) -> Scan:
        until = self._clock.seconds() + self._seconds
        records = Collection(zone)
        notes: list[Note] = []
        transferred = await self._transfer(present, addresses)
        if transferred is None:
            panel = Panel(addresses, present.name, self._client)
            asking = Asking(panel, zone, usual.questions(), new_token())
            seconds = max(1.0, until - self._clock.seconds())
            try:
                await within(seconds, asking.run(), "asking for records", clock=self._clock)
            except LookupFailed:
                notes.append(_out_of_time(self._seconds, asking.left))
            found = list(asking.found())
            notes += _unanswered(asking, panel)
        else:
            found = transferred
        notes += _aliased_apex(found, zone)
        records.add(found)
        return Scan(
            records=records.records(),
            whole=transferred is not None,
            servers=present.servers,
            served=served,
            notes=(*notes, *records.notes()),
        )

    async def _transfer(self, present: Zone, addresses: Sequence[Server]) -> list[Found] | None:
        """Return all records of the zone, if one of its servers gives them."""
        attempts = await attempt_all(
            [
                within(
                    TRANSFER_SECONDS,
                    self._client.transfer(server, present.name),
                    f"the transfer from {server}",
                    clock=self._clock,
                )
                for server in addresses[:MAX_TRANSFERS]
            ]
        )
        return next((found for found in attempts if not isinstance(found, LookupFailed)), None)


def new_token() -> str:
    """Return a label that nobody has by chance (80 bits), and that no server can expect."""
    return f"wd-{secrets.token_hex(10)}"


def _not_found(reason: str) -> Note:
    return Note(
        "not-found",
        "The domain's present records could not be asked for: {reason}.",
        {"reason": reason},
    )


def _out_of_time(seconds: float, names: int) -> Note:
    return Note(
        "out-of-time",
        "Not everything could be asked within {seconds} seconds: {names} names are left out.",
        {"seconds": f"{seconds:g}", "names": names},
    )


def _unanswered(asking: Asking, panel: Panel) -> list[Note]:
    notes = [
        Note("server", "A name server did not answer well: {reason}.", {"reason": reason})
        for reason in list(panel.reasons.values())[:MAX_LISTED]
    ]
    if asking.unanswered:
        listed = [str(name.to_text(omit_final_dot=True)) for name in asking.unanswered]
        notes.append(
            Note(
                "unanswered",
                "No answer was to be had for {count} names, such as {names}.",
                {"count": len(listed), "names": ", ".join(listed[:MAX_LISTED])},
            )
        )
    return notes


def _aliased_apex(found: Sequence[Found], zone: Name) -> list[Note]:
    for record in found:
        if record.owner == zone and record.type == rdatatype.CNAME:
            return [
                Note(
                    "apex-cname",
                    "The domain itself is an alias (CNAME) of {target}, which no domain may be:"
                    " an ALIAS record does what was meant.",
                    {"target": record.rdata.to_text()},
                )
            ]
    return []
