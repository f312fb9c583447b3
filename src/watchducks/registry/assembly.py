"""The rules that the records of a zone have to keep together, one method each. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from twisted.names import dns

from watchducks.model.origins import leads_back
from watchducks.model.presentation import (
    owner_of,
    owner_text,
    target_of,
    type_text,
)
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import Site
from watchducks.model.zones import (
    ALIAS,
    DEFAULT_CONTENTS,
    MAX_ZONE_OCTETS,
    MAX_ZONE_RECORDS,
    Record,
    ZoneContents,
)

# An answer is one message of at most 65,535 octets, and the signature has to fit beside it.
MAX_RRSET_OCTETS: Final = 60_000
# Enough to see what is wrong with a list; a message with thousands helps nobody.
MAX_PROBLEMS: Final = 50

_DS: Final = 43
_HTTPS: Final = 65
_TLSA: Final = 52
# "_443._tcp.", as owners have it: where the certificate of an https host is named.
_HTTPS_PORT: Final = b"\x04_443\x04_tcp"
_ADDRESSES: Final = frozenset({dns.A, dns.AAAA})


class Candidate(NamedTuple):
    """A record that somebody wants, and how messages call it: ``records[3]``, ``line 12``."""

    place: str
    record: Record


@dataclass(frozen=True, slots=True)
class Note:
    """Something about a record that is no mistake, or that was left out."""

    place: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class Assembled:
    """What a zone will hold, and what to say about it."""

    contents: ZoneContents
    notes: tuple[Note, ...]


def too_many() -> Problem:
    """Return what is said of more records than a zone may hold."""
    return Problem("too-many-records", "At most {limit} records.", limit=MAX_ZONE_RECORDS)


def assemble(
    candidates: Iterable[Candidate],
    proxied: Sequence[str],
    site: Site,
    *,
    lenient: bool = False,
    notes: Iterable[Note] = (),
) -> Assembled:
    """Return the zone that these records and proxied hosts make together.

    :param site: whose zone it is; its origin's address is what a proxied host answered so far.
    :param lenient: leave out what does not fit, with a note, instead of raising.
    :param notes: what is to be said already.
    :raises InvalidFields: not lenient, and records do not fit together; or they are too many.
    """
    zone = _Zone(list(candidates), proxied, site, lenient=lenient)
    zone.check()
    back = leads_back(site.origin, replace(site, contents=ZoneContents(tuple(proxied))).hosts)
    if back is not None:
        zone.problems["proxied"] = back
    if zone.problems:
        raise InvalidFields(dict(list(zone.problems.items())[:MAX_PROBLEMS]))
    records = tuple(candidate.record for candidate in zone.candidates)
    contents = ZoneContents(tuple(proxied), records)
    octets = sum(len(record.owner) + len(record.rdata) for record in records)
    if len(records) > MAX_ZONE_RECORDS:
        raise InvalidFields({"records": too_many()})
    if octets > MAX_ZONE_OCTETS:
        raise InvalidFields(
            {
                "records": Problem(
                    "too-large",
                    "The records are {octets} octets together; at most {limit} are kept.",
                    octets=octets,
                    limit=MAX_ZONE_OCTETS,
                )
            }
        )
    kept = DEFAULT_CONTENTS if contents == DEFAULT_CONTENTS else contents
    return Assembled(kept, (*notes, *zone.notes))


class _Zone:
    """The rules that records have to keep together, one method each."""

    def __init__(
        self, candidates: list[Candidate], proxied: Sequence[str], site: Site, *, lenient: bool
    ) -> None:
        self.candidates = candidates
        self.problems: dict[str, Problem] = {}
        self.notes: list[Note] = []
        self._lenient = lenient
        self._site = site
        self._proxied = frozenset(owner_of(host, site.zone, host=True) for host in proxied)
        self._apex = _wire_name(site.zone)

    def check(self) -> None:
        """Apply the rules; what does not fit is a problem, or left out with a note."""
        for rule in (
            self._fits_what_we_make,
            self._is_alone,
            self._has_a_delegation,
            self._is_not_delegated,
        ):
            self.candidates = [
                candidate for candidate, problem in rule() if not self._refused(candidate, problem)
            ]
        self._fold()
        self._warn_of_targets()
        self._warn_of_pins()

    def _refused(self, candidate: Candidate, problem: Problem | None) -> bool:
        if problem is None:
            return False
        if self._lenient or problem.code == "made-by-us":
            self.notes.append(Note(_shown_place(candidate), problem))
        else:
            self.problems[_shown_place(candidate)] = problem
        return True

    def _fits_what_we_make(self) -> Iterator[tuple[Candidate, Problem | None]]:
        """Leave the apex's NS, and what leads to proxied hosts, to us."""
        for candidate in self.candidates:
            _, (owner, type_, _, rdata) = candidate
            name = owner_text(owner)
            problem = None
            if owner in self._proxied and type_ in _ADDRESSES:
                if rdata in [address.packed for address in self._site.origin.addresses]:
                    continue  # what the host answered so far, and answers while no proxy works
                problem = Problem(
                    "made-by-us",
                    "{name} is proxied, so its addresses are ours; this one is not kept.",
                    name=name,
                )
            elif owner in self._proxied and type_ == _HTTPS:
                problem = Problem(
                    "made-by-us",
                    "{name} is proxied, and its HTTPS record, which could lead visitors past us, is"
                    " not kept.",
                    name=name,
                )
            elif owner in self._proxied and type_ in (dns.CNAME, ALIAS, dns.NS):
                if self._lenient and type_ == dns.CNAME and self._leads_to_a_proxied_host(rdata):
                    continue  # "www CNAME example.com.": we lead both to the same place
                problem = Problem(
                    "proxied-host",
                    "{name} is proxied and cannot have a {type} record; take it from the proxied"
                    " hosts first.",
                    name=name,
                    type=type_text(type_),
                )
            elif owner == b"" and type_ == dns.CNAME:
                problem = Problem(
                    "apex-cname", "A domain itself cannot have a CNAME record; use ALIAS."
                )
            elif owner == b"" and type_ in (dns.NS, _DS):
                problem = Problem(
                    "apex-delegation",
                    "The {type} records of the domain itself are not kept here.",
                    type=type_text(type_),
                )
            elif owner[:2] == b"\x01*" and type_ in (dns.NS, _DS):
                problem = Problem(
                    "wildcard-delegation", "A wildcard cannot be delegated (RFC 4592)."
                )
            yield candidate, problem

    def _leads_to_a_proxied_host(self, target: bytes) -> bool:
        return target.endswith(self._apex) and target[: -len(self._apex)] in self._proxied

    def _is_alone(self) -> Iterator[tuple[Candidate, Problem | None]]:
        """A CNAME stands alone; an ALIAS stands in for addresses (RFC 2181 section 10.1)."""
        found: defaultdict[bytes, set[tuple[int, bytes]]] = defaultdict(set)
        for _, record in self.candidates:
            found[record.owner].add((record.type, record.rdata))
        for candidate in self.candidates:
            record = candidate.record
            others = found[record.owner] - {(record.type, record.rdata)}
            problem = None
            if record.type == dns.CNAME and others:
                problem = Problem(
                    "cname-alone",
                    "{name} has a CNAME record, and can have no other record beside it.",
                    name=owner_text(record.owner),
                )
            elif record.type == ALIAS and any(
                type_ in _ADDRESSES or type_ == ALIAS for type_, _ in others
            ):
                problem = Problem(
                    "alias-alone",
                    "{name} has an ALIAS record, and can have no addresses of its own.",
                    name=owner_text(record.owner),
                )
            yield candidate, problem

    def _has_a_delegation(self) -> Iterator[tuple[Candidate, Problem | None]]:
        """A DS record says how the name servers beside it sign."""
        cuts = {record.owner for _, record in self.candidates if record.type == dns.NS}
        for candidate in self.candidates:
            record = candidate.record
            yield (
                candidate,
                Problem("ds-alone", "A DS record needs NS records of the same name.")
                if record.type == _DS and record.owner not in cuts
                else None,
            )

    def _is_not_delegated(self) -> Iterator[tuple[Candidate, Problem | None]]:
        """Below a delegation there is nothing of ours but the addresses of its name servers."""
        cuts = {record.owner for _, record in self.candidates if record.type == dns.NS}
        servers = {record.rdata for _, record in self.candidates if record.type == dns.NS}
        for host in sorted(self._proxied):
            if any(_is_within(host, cut) for cut in cuts):
                self.problems["proxied"] = Problem(
                    "delegated-host",
                    "{name} is delegated to other name servers and cannot be proxied.",
                    name=owner_text(host),
                )
        for candidate in self.candidates:
            record = candidate.record
            owner = record.owner
            above = [cut for cut in _ancestors(owner) if cut in cuts]
            fits = (
                not above
                or (above == [owner] and record.type in (dns.NS, _DS))
                or (record.type in _ADDRESSES and owner + self._apex in servers)
            )
            yield (
                candidate,
                None
                if fits
                else Problem(
                    "delegated",
                    "{name} is delegated to other name servers: only they answer for it.",
                    name=owner_text(above[-1]),
                ),
            )

    def _fold(self) -> None:
        """Keep each record once, and give each RRset one TTL, the lowest (RFC 2181 section 5.2)."""
        ttls: dict[tuple[bytes, int], int] = {}
        octets: defaultdict[tuple[bytes, int], int] = defaultdict(int)
        once: dict[tuple[bytes, int, bytes], Candidate] = {}
        told = set()
        for candidate in self.candidates:
            record = candidate.record
            key = (record.owner, record.type)
            first = once.setdefault((*key, record.rdata), candidate)
            if first is candidate:
                octets[key] += len(record.rdata) + 12
            if ttls.setdefault(key, record.ttl) != record.ttl and key not in told:
                told.add(key)
                differing = Problem(
                    "ttls",
                    "The {type} records of {name} have different TTLs; the lowest is kept.",
                    type=type_text(record.type),
                    name=owner_text(record.owner),
                )
                self.notes.append(Note(_shown_place(candidate), differing))
            ttls[key] = min(ttls[key], record.ttl)
        self.candidates = [
            Candidate(place, record._replace(ttl=ttls[record.owner, record.type]))
            for place, record in once.values()
        ]
        for (owner, type_), size in octets.items():
            if size > MAX_RRSET_OCTETS:
                self.problems["records"] = Problem(
                    "rrset-too-large",
                    "The {type} records of {name} do not fit into one answer.",
                    type=type_text(type_),
                    name=owner_text(owner),
                )

    def _warn_of_targets(self) -> None:
        """MX, SRV and NS have to lead to hosts, not to aliases (RFC 2181 section 10.3)."""
        aliases = {
            record.owner + self._apex for _, record in self.candidates if record.type == dns.CNAME
        }
        for candidate in self.candidates:
            target = target_of(candidate.record)
            if candidate.record.type in (dns.MX, dns.SRV, dns.NS) and target in aliases:
                warning = Problem(
                    "target-cname",
                    "The name that this {type} record leads to has a CNAME record; many servers"
                    " do not follow it.",
                    type=type_text(candidate.record.type),
                )
                self.notes.append(Note(_shown_place(candidate), warning))

    def _warn_of_pins(self) -> None:
        for candidate in self.candidates:
            warning = pin_problem(candidate.record, self._proxied)
            if warning is not None:
                self.notes.append(Note(_shown_place(candidate), warning))


def pin_problem(record: Record, proxied: Collection[bytes]) -> Problem | None:
    """Return what is wrong with a TLSA record (RFC 6698) that names the certificate of a proxied
    host: visitors see ours there, which is another every few weeks.

    :param proxied: relative owners, as records have them.
    """
    host = record.owner.removeprefix(_HTTPS_PORT)
    if record.type != _TLSA or host == record.owner or host not in proxied:
        return None
    return Problem(
        "tlsa-proxied",
        "{name} names your own server's certificate, but {host} is proxied and shows ours: who"
        " checks TLSA records will refuse it. Remove this record, or take {host} from the proxied"
        " hosts.",
        name=owner_text(record.owner),
        host=owner_text(host),
    )


def pin_problems(site: Site) -> list[Problem]:
    """Return :func:`pin_problem` of all records of a site's zone."""
    proxied = {owner_of(host, site.zone, host=True) for host in site.contents.proxied}
    found = (pin_problem(record, proxied) for record in site.contents.records)
    return [problem for problem in found if problem is not None]


def _shown_place(candidate: Candidate) -> str:
    return f"{candidate.place} ({owner_text(candidate.record.owner)})"


def _wire_name(name: str) -> bytes:
    labels = name.encode("ascii").split(b".")
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def _ancestors(owner: bytes) -> Iterator[bytes]:
    """Return a relative owner and those above it, but for the apex."""
    start = 0
    while start < len(owner):
        yield owner[start:]
        start += 1 + owner[start]


def _is_within(owner: bytes, cut: bytes) -> bool:
    return cut in _ancestors(owner)
