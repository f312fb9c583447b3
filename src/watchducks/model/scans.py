"""Scans: what a zone held before it was ours, as it was found in the public DNS."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from watchducks.model.origins import Address
from watchducks.model.zones import Record, ZoneContents

# Version of the packed form of all but the records; what a later version wrote is not guessed at.
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class NameServer:
    """A name server of somebody's: its host name without the final dot, and its addresses."""

    name: str
    addresses: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """Something that an owner should know of, as :class:`~watchducks.model.problems.Problem` says
    what is wrong: the template can be translated, ``str()`` is the English sentence."""

    code: str
    template: str
    parameters: Mapping[str, str | int] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.template.format(**self.parameters)


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found.

    :ivar records: of the zone, without those that its new servers make themselves: SOA, NS of the
        apex, signatures.
    :ivar whole: they are all there were (a zone transfer), and not only those that were guessed.
    :ivar servers: the name servers that answered for the zone, none of them ours.
    :ivar served: the name of the zone there; the zone itself, or one above it.
    :ivar ds: the DS records at the parent, as zone files write their data. Any of them means that
        resolvers refuse what other name servers answer: the domain would be lost to many visitors.
    :ivar notes: what could not be asked, and what was left out.
    """

    records: tuple[Record, ...] = ()
    whole: bool = False
    servers: tuple[NameServer, ...] = ()
    served: str = ""
    ds: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    def following(self, before: Scan) -> Scan:
        """Return what is to be kept of this scan, which was made after ``before``.

        A DS record that could not be asked for is still there; and where nobody but us answers any
        more, or nobody at all, what was found before is all there is.
        """
        ds = before.ds if any(note.code == "ds-unknown" for note in self.notes) else self.ds
        if self.servers or not before.servers:
            return replace(self, ds=ds)
        return replace(before, ds=ds, notes=self.notes)

    def pack(self) -> tuple[bytes, bytes]:
        """Return the form in which stores keep it: the records, and all else."""
        rest = {
            "format": _FORMAT,
            "whole": self.whole,
            "servers": [
                {"name": server.name, "addresses": [str(address) for address in server.addresses]}
                for server in self.servers
            ],
            "served": self.served,
            "ds": self.ds,
            "notes": [[note.code, note.template, dict(note.parameters)] for note in self.notes],
        }
        return ZoneContents((), self.records).pack(), json.dumps(rest).encode()

    @classmethod
    def unpack(cls, records: bytes, rest: bytes) -> Scan:
        """Return what :meth:`pack` was given.

        :raises ValueError: this was not packed by us, or by a later version.
        """
        try:
            found: dict[str, Any] = json.loads(rest)
            if found["format"] != _FORMAT:
                raise ValueError(f"the scan has format {found['format']}, and we know {_FORMAT}")
            return cls(
                records=ZoneContents.unpack(records).records,
                whole=found["whole"],
                servers=tuple(
                    NameServer(
                        server["name"], tuple(map(ipaddress.ip_address, server["addresses"]))
                    )
                    for server in found["servers"]
                ),
                served=found["served"],
                ds=tuple(found["ds"]),
                notes=tuple(Note(*note) for note in found["notes"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError("this is no scan") from error


@dataclass(frozen=True, slots=True)
class KeptScan:
    """A scan as the registry keeps it.

    :ivar made: POSIX seconds.
    :ivar offers: records that visitors asked us for in vain, and that the old servers have.
    """

    made: int
    scan: Scan
    offers: tuple[Record, ...] = ()


def is_foreign(ds: Iterable[str], own: Iterable[str]) -> bool:
    """Return whether a parent's DS records are of other keys than our ``own`` alone, so that
    whoever validates refuses our answers."""
    theirs = {" ".join(text.split()).casefold() for text in ds}
    return bool(theirs) and not theirs & {text.casefold() for text in own}


def hindrance(zone: str, ds: Iterable[str], own: Iterable[str]) -> Note | None:
    """Return why the name servers of ``zone`` must not be changed yet, or None if they may.

    :param ds: the DS records at the parent, as zone files write their data.
    :param own: the DS records of our own keys, likewise.
    """
    if not is_foreign(ds, own):
        return None
    return Note(
        "ds-present",
        "{zone} is signed with DNSSEC at its present provider, and its DS record knows only that"
        " provider's keys: with other name servers the domain would be lost to many visitors. First"
        " have the DS record removed where you bought the domain (switch DNSSEC off there), wait"
        " until its TTL has passed (a day is usual), and only then change the name servers.",
        {"zone": zone},
    )
