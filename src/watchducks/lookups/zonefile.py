"""Zone files (RFC 1035 section 5): from the text that another name server was fed with to records.

dnspython splits lines into records; what is ours is the frame: the size is bounded, ``$INCLUDE``
and ``$GENERATE`` are refused, a record that cannot be kept is left out with a note, and what cannot
be read at all is an error that names its line. It blocks for up to some seconds: for a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import dns.exception
import dns.name
import dns.rdata
import dns.tokenizer
import dns.zonefile
from dns import rdataclass, rdatatype

from watchducks.model.presentation import (
    MAX_TTL,
    is_accepted,
    not_kept,
    owner_of,
    type_text,
)
from watchducks.model.problems import Problem
from watchducks.model.zones import MAX_ZONE_RECORDS, Record

# Twice what a zone of ours may hold, written out with comments; parsing it takes some seconds.
MAX_FILE_CHARACTERS: Final = 512 * 1024
# Signatures and their like are read and left out: a signed zone has four times its records.
MAX_FILE_RECORDS: Final = 5 * MAX_ZONE_RECORDS
# Notes are for a person; what is said of the first hundred is true of the others.
MAX_NOTES: Final = 100

# What the new name servers make themselves, or only the old signer could.
_MADE_BY_SERVERS: Final = frozenset(
    {
        "SOA",
        "RRSIG",
        "NSEC",
        "NSEC3",
        "NSEC3PARAM",
        "DNSKEY",
        "CDS",
        "CDNSKEY",
        "ZONEMD",
    }
)


class Line(NamedTuple):
    """A record and the number of the line on which it begins."""

    number: int
    record: Record


class LineNote(NamedTuple):
    """What is said about a line; 0: about the whole file."""

    number: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class ZoneFile:
    """:ivar lines: records that can be kept, in the order of the file.
    :ivar notes: what was left out, and why."""

    lines: tuple[Line, ...]
    notes: tuple[LineNote, ...]


def read_zone_file(text: str, zone: str) -> ZoneFile:
    """Return the records of the zone ``zone`` in a zone file. Blocks.

    :raises Problem: it is too large, or a line cannot be read; the message names the line.
    """
    if len(text) > MAX_FILE_CHARACTERS:
        raise Problem(
            "file-too-large",
            "The zone file is longer than {limit} characters.",
            limit=MAX_FILE_CHARACTERS,
        )
    collection = _Collection(zone)
    # A byte order mark is what Windows' editor puts there.
    tokenizer = _Tokenizer(text.removeprefix("\ufeff"), idna_codec=dns.name.IDNA_2008_UTS_46)
    collection.where = lambda: tokenizer.began
    reader = dns.zonefile.Reader(
        tokenizer,
        rdataclass.IN,
        # Of a transaction it needs no more than this.
        collection,  # type: ignore[arg-type]
        allow_directives=("TTL", "ORIGIN"),
    )
    # A part of a zone file, which is what people paste, has no $ORIGIN.
    reader.current_origin = reader.last_name = dns.name.from_text(zone)
    try:
        reader.read()
    except _TooMany:
        raise Problem(
            "file-too-many-records",
            "The zone file has more than {limit} records.",
            limit=MAX_FILE_RECORDS,
        ) from None
    except (dns.exception.DNSException, ValueError, RecursionError) as error:
        raise Problem(
            "zone-file",
            "Line {line} cannot be read as a zone file's: {reason}",
            line=tokenizer.began,
            reason=_reason(error),
        ) from error
    return ZoneFile(tuple(collection.lines), tuple(collection.notes))


def _reason(error: Exception) -> str:
    """Return what dnspython says, without the place that it puts before, printable and short."""
    text = str(error).removeprefix("<string>:")
    if text[:1].isdigit():
        text = text.partition(": ")[2]
    return "".join(character if character.isprintable() else "?" for character in text)[:120]


class _TooMany(Exception):
    """The file has more records than are read."""


class _Tokenizer(dns.tokenizer.Tokenizer):
    """Knows where an entry began: dnspython's own place is where it stopped reading, often the next
    line.

    :ivar began: the number of the line, from 1.
    """

    began = 1

    def get(
        self,
        want_leading: bool = False,  # noqa: FBT001, FBT002  dnspython's signature
        want_comment: bool = False,  # noqa: FBT001, FBT002
    ) -> dns.tokenizer.Token:
        if want_comment:  # it is wanted at the beginning of an entry only
            self.began = self.line_number
        return super().get(want_leading, want_comment)


class _Collection:
    """What dnspython's reader writes into: the part of a transaction that it uses."""

    def __init__(self, zone: str) -> None:
        self.lines: list[Line] = []
        self.notes: list[LineNote] = []
        self.where: Callable[[], int] = int
        # The reader asks its transaction for a manager, and that for the origin.
        self.manager = self
        self._zone = zone
        self._count = 0

    def origin_information(self) -> tuple[dns.name.Name, bool, dns.name.Name]:
        """Return (origin, whether to make names relative, the origin in effect)."""
        # The root, so that records of other zones come here too, and are told, not skipped.
        return dns.name.root, False, dns.name.root

    def check_put_rdataset(self, check: Any) -> None:
        """Rules about several records are ours (:mod:`watchducks.registry.records`)."""

    def _set_origin(self, origin: dns.name.Name) -> None:
        """The file's $ORIGIN changes nothing about whose zone it is."""

    def add(self, name: dns.name.Name, ttl: int, rdata: dns.rdata.Rdata) -> None:
        """Take a record, or note why not."""
        self._count += 1
        if self._count > MAX_FILE_RECORDS:
            raise _TooMany
        number = self.where()
        try:
            owner = self._owner(name, rdata.rdtype)
        except Problem as problem:
            self._note(number, problem)
            return
        if ttl > MAX_TTL:
            shortened = Problem(
                "ttl-shortened",
                "The TTL of {name} is {ttl} seconds; {most} are kept.",
                name=name.to_text(),
                ttl=ttl,
                most=MAX_TTL,
            )
            self._note(number, shortened)
        self.lines.append(
            Line(number, Record(owner, int(rdata.rdtype), min(ttl, MAX_TTL), rdata.to_digestable()))
        )

    def _owner(self, name: dns.name.Name, type_: rdatatype.RdataType) -> bytes:
        """Return the owner of a record that can be kept. :raises Problem: it cannot be."""
        owner = owner_of(name.to_text(), self._zone)
        word = type_text(int(type_))
        if word in _MADE_BY_SERVERS or (word == "NS" and not owner):
            raise Problem("server-made", "{type}: our name servers make it themselves.", type=word)
        if not is_accepted(int(type_)):
            raise not_kept(word)
        return owner

    def _note(self, number: int, problem: Problem) -> None:
        if len(self.notes) < MAX_NOTES:
            self.notes.append(LineNote(number, problem))
