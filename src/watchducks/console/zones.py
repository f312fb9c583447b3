"""A zone's records for the API and the pages: read, replaced as a whole, imported.

What takes long with thousands of records (dnspython reads and prints some 20,000 a second) is done
in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from watchducks.background import Threads
from watchducks.console.interfaces import Sites
from watchducks.lookups.zonefile import read_zone_file
from watchducks.model.accounts import Actor
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import Site
from watchducks.model.zones import ZoneContents
from watchducks.registry.assembly import Assembled, Candidate, Note, assemble
from watchducks.registry.choices import yes_or_no
from watchducks.registry.records import (
    Difference,
    difference,
    document_of,
    in_order,
    merged,
    validate_contents,
)
from watchducks.registry.registry import RevisionChanged


@dataclass(frozen=True, slots=True)
class Import:
    """What importing a zone file would do."""

    contents: ZoneContents
    difference: Difference
    notes: Sequence[Note]


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What the API is asked to import.

    :ivar replace: records that the file does not have are removed.
    :ivar dry_run: nothing is kept.
    """

    zonefile: str
    replace: bool = False
    dry_run: bool = False

    @classmethod
    def read(cls, fields: Mapping[str, object]) -> ImportRequest:
        """Return what ``fields`` ask for. :raises InvalidFields: with every problem."""
        problems: dict[str, Problem] = {}
        choices = {"replace": False, "dry_run": False}
        for field, value in fields.items():
            try:
                if field in choices:
                    choices[field] = yes_or_no(value)
                elif field != "zonefile":
                    name = field[:64].encode("ascii", "backslashreplace").decode()
                    raise Problem("unknown-field", "There is no field {field}.", field=name)
            except Problem as problem:
                problems[field] = problem
                break
        text = fields.get("zonefile")
        if not isinstance(text, str):
            problems["zonefile"] = Problem("missing", "This field is required.")
        elif not problems:
            return cls(text, **choices)
        raise InvalidFields(problems)


class Zones:
    """Reads and changes what zones hold.

    :param threads: for reading and printing records.
    """

    def __init__(self, sites: Sites, threads: Threads) -> None:
        self._sites = sites
        self._threads = threads

    async def document(self, site: Site) -> dict[str, Any]:
        """Return the zone as the API has it."""
        return await self._threads.run(_document, site)

    async def difference_document(self, difference: Difference) -> dict[str, Any]:
        """Return a difference as the API has it."""
        return await self._threads.run(_difference_document, difference)

    async def replace(
        self, site: Site, fields: Mapping[str, object], *, by: Actor
    ) -> tuple[Site, Assembled]:
        """Replace all of a zone by what ``fields`` ask for; ``site`` is what the writer has seen.

        :raises InvalidFields: with the problems.
        :raises RevisionChanged: the site has changed since, or ``fields`` are of another revision.
        :raises SiteNotFound: there is no such site (any more).
        """
        if fields.get("revision", site.revision) != site.revision:
            raise RevisionChanged
        assembled = await self._threads.run(validate_contents, fields, site)
        return await self.keep(site, assembled.contents, by=by), assembled

    async def keep(self, site: Site, contents: ZoneContents, *, by: Actor) -> Site:
        """Keep contents that were validated for ``site`` as it is.

        :raises RevisionChanged: the site has changed since.
        :raises SiteNotFound: there is no such site (any more).
        """
        return await self._sites.keep_contents(site.name, contents, site.revision, by=by)

    async def importing(self, site: Site, text: str, *, replace: bool) -> Import:
        """Return what importing a zone file would do; nothing is kept.

        :param replace: records that the file does not have are removed.
        :raises InvalidFields: under ``zonefile``, the file cannot be read or used.
        """
        return await self._threads.run(_prepare_import, site, text, replace=replace)


def _prepare_import(site: Site, text: str, *, replace: bool) -> Import:
    """See :meth:`Zones.importing`. Blocks."""
    try:
        file = read_zone_file(text, site.zone)
        found = assemble(
            [Candidate(f"line {line.number}", line.record) for line in file.lines],
            site.contents.proxied,
            site,
            lenient=True,
            notes=[
                Note(f"line {note.number}" if note.number else "", note.problem)
                for note in file.notes
            ],
        )
        contents = found.contents if replace else merged(site.contents, found.contents)
        # What was there may not fit to what comes.
        together = assemble(
            [Candidate("zonefile", record) for record in contents.records], contents.proxied, site
        )
    except Problem as problem:
        raise InvalidFields({"zonefile": problem}) from None
    except InvalidFields as invalid:
        first = next(iter(invalid.problems.values()))
        raise InvalidFields({"zonefile": first}) from None
    notes = sorted(found.notes, key=_line)
    return Import(together.contents, difference(site.contents, together.contents), notes)


def _line(note: Note) -> int:
    digits = "".join(filter(str.isdigit, note.place.partition("(")[0]))
    return int(digits or "0")


def _difference_document(difference: Difference) -> dict[str, Any]:
    return {
        "added": [document_of(record) for record in difference.added],
        "removed": [document_of(record) for record in difference.removed],
    }


def _document(site: Site) -> dict[str, Any]:
    return {
        "site": site.name,
        "zone": site.zone,
        "proxied": list(site.contents.proxied),
        "records": [document_of(record) for record in in_order(site.contents.records)],
        "revision": site.revision,
    }
