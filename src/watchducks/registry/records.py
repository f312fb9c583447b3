"""What a zone may hold: the one validation behind the API, the pages and the command. Pure.

Two steps: each record by itself (:mod:`watchducks.model.presentation`), then all of them together
(:mod:`watchducks.registry.assembly`). In an owner's own list each mistake is a problem that he has
to correct; of a zone that is imported (``lenient``) what does not fit is left out, and a note says
why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from twisted.names import dns

from watchducks.model.presentation import (
    DEFAULT_TTL,
    owner_of,
    owner_text,
    rdata_of,
    ttl_of,
    type_of,
    type_text,
    value_text,
)
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import Site
from watchducks.model.zones import (
    APEX,
    MAX_PROXIED_HOSTS,
    MAX_ZONE_RECORDS,
    Record,
    ZoneContents,
)
from watchducks.registry.assembly import MAX_PROBLEMS, Assembled, Candidate, assemble, too_many

# What one record of a list consists of; `ttl` may be left out.
FIELDS: Final = ("name", "type", "ttl", "value")


def validate_contents(fields: Mapping[str, object], site: Site) -> Assembled:
    """Return what the API's document asks for: ``records``, and ``proxied`` if it is there.

    :raises InvalidFields: with every problem (the first :data:`MAX_PROBLEMS`), each named by its
        place and its record's name.
    """
    problems: dict[str, Problem] = {}
    for field in fields:
        if field not in ("records", "proxied", "zone", "revision"):
            name = field[:64].encode("ascii", "backslashreplace").decode()
            problems[name] = Problem("unknown-field", "There is no field {field}.", field=name)
            break
    if fields.get("zone", site.zone) != site.zone:
        problems["zone"] = Problem(
            "unchangeable", "The {field} of a site cannot be changed.", field="zone"
        )
    proxied = site.contents.proxied
    if "proxied" in fields:
        try:
            proxied = proxied_hosts(fields["proxied"], site.zone)
        except Problem as problem:
            problems["proxied"] = problem
    wanted = fields.get("records")
    if not isinstance(wanted, list):
        problems["records"] = Problem("records", "Enter the records as a list of objects.")
        wanted = []
    if len(wanted) > MAX_ZONE_RECORDS:
        problems["records"] = too_many()
        wanted = []
    candidates = list(_candidates(wanted, site.zone, problems))
    if problems:
        raise InvalidFields(problems)
    return assemble(candidates, proxied, site)


def _candidates(
    wanted: Sequence[object], zone: str, problems: dict[str, Problem]
) -> Iterator[Candidate]:
    """Return the records that can be read; the others' ``problems`` are added, some of them."""
    for number, item in enumerate(wanted):
        place = f"records[{number}]"
        try:
            yield Candidate(place, record_of(item, zone))
        except RecordProblem as wrong:
            problems[f"{place}.{wrong.field}".removesuffix(".")] = wrong.problem
            if len(problems) >= MAX_PROBLEMS:
                return


class RecordProblem(ValueError):
    """One field of one record is not accepted; ``field`` is empty if it is no record at all."""

    def __init__(self, field: str, problem: Problem) -> None:
        super().__init__(str(problem))
        self.field = field
        self.problem = problem


def record_of(item: object, zone: str) -> Record:
    """Return the record that an object (or the fields of a form) describes.

    :raises RecordProblem: a field is wrong, missing, or none of :data:`FIELDS`.
    """
    if not isinstance(item, Mapping):
        raise RecordProblem(
            "",
            Problem(
                "record", "Enter a record as an object with {fields}.", fields=", ".join(FIELDS)
            ),
        )
    for field in item:
        if field not in FIELDS:
            raise RecordProblem(
                "",
                Problem(
                    "record", "Enter a record as an object with {fields}.", fields=", ".join(FIELDS)
                ),
            )

    def read(field: str, rule: Callable[[Any], Any]) -> Any:
        value = item.get(field, DEFAULT_TTL if field == "ttl" else None)
        try:
            if value is None:
                raise Problem("missing", "This field is required.")
            if field != "ttl" and not isinstance(value, str):
                raise Problem("type", "Enter this field as text.")
            return rule(value)
        except Problem as problem:
            raise RecordProblem(field, problem) from None

    type_ = read("type", type_of)
    return Record(
        owner=read("name", lambda name: owner_of(name, zone)),
        type=type_,
        ttl=read("ttl", ttl_of),
        rdata=read("value", lambda value: rdata_of(type_, value, zone)),
    )


def document_of(record: Record) -> dict[str, str | int]:
    """Return a record as the API has it: what :func:`record_of` reads."""
    return {
        "name": owner_text(record.owner),
        "type": type_text(record.type),
        "ttl": record.ttl,
        "value": value_text(record),
    }


def in_order(records: Iterable[Record]) -> list[Record]:
    """Return records as people look for them: the apex first, then by name and type."""
    return sorted(
        records,
        key=lambda record: (owner_text(record.owner) != APEX, owner_text(record.owner), record[1:]),
    )


def proxied_hosts(value: object, zone: str) -> tuple[str, ...]:
    """Return the hosts that are to be proxied, relative to the zone, each once.

    :raises Problem: this is no list of hosts within the zone, or they are too many.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(host, str) for host in value):
        raise Problem("proxied", "Enter the proxied hosts as a list of names.")
    if len(value) > MAX_PROXIED_HOSTS:
        raise Problem(
            "too-many-hosts", "At most {limit} hosts are proxied.", limit=MAX_PROXIED_HOSTS
        )
    owners = dict.fromkeys(owner_of(host, zone, host=True) for host in value)
    return tuple(owner_text(owner) for owner in owners)


# --- what changes ---------------------------------------------------------------------------------


def merged(before: ZoneContents, imported: ZoneContents) -> ZoneContents:
    """Return a zone after an import: what is imported replaces the records that were there of the
    same name and type, and those that cannot stand beside it."""
    replaced = {(record.owner, record.type) for record in imported.records}
    names = {owner for owner, _ in replaced}
    kept = [
        record
        for record in before.records
        if (record.owner, record.type) not in replaced
        and (record.owner, dns.CNAME) not in replaced
        and not (record.type == dns.CNAME and record.owner in names)
    ]
    return ZoneContents(imported.proxied, (*kept, *imported.records))


class Difference(NamedTuple):
    """What two zones do not have in common, in the order of :func:`in_order`."""

    added: list[Record]
    removed: list[Record]


def difference(before: ZoneContents, after: ZoneContents) -> Difference:
    """Return what would be added and removed; a change is one of each."""
    old, new = set(before.records), set(after.records)
    return Difference(in_order(new - old), in_order(old - new))
