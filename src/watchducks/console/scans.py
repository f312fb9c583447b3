"""What a zone held before it was ours, and what its visitors miss since, as the API shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from watchducks.background import Threads
from watchducks.console.figures import rfc3339
from watchducks.console.health import said
from watchducks.console.interfaces import Scans
from watchducks.console.languages import Language
from watchducks.lookups.compare import compare
from watchducks.lookups.missing import missing
from watchducks.model.origins import Address
from watchducks.model.scans import KeptScan, Note, hindrance
from watchducks.model.signing import apex_name
from watchducks.model.sites import Site
from watchducks.model.zones import Record
from watchducks.registry.records import document_of, in_order


class ScanReports:
    """
    :param proxies: what is answered for proxied hosts, with ``ttl`` seconds.
    :param threads: for printing and comparing records, of which there may be thousands.
    """

    def __init__(
        self, scans: Scans, proxies: Sequence[Address], *, ttl: int, threads: Threads
    ) -> None:
        self._scans = scans
        self._proxies = proxies
        self._ttl = ttl
        self._threads = threads

    async def document(self, site: Site, language: Language, now: float) -> dict[str, Any]:
        """Return what was found, and what the visitors of the zone as it is kept now would notice.

        ``made`` is null while the scan is under way, and then there is nothing else.
        ``blocked_by`` says why the name servers must not be changed yet.
        """
        kept = await self._scans.scan(site.id)
        if kept is None:
            return {"site": site.name, "zone": site.zone, "made": None}
        return await self._threads.run(self._document, site, kept, language, now)

    async def offers(self, site: Site) -> dict[str, Any]:
        """Return the records that the old name servers have and that were asked of us in vain."""
        kept = await self._scans.scan(site.id)
        offered = () if kept is None else missing(site, kept.offers)
        return {
            "site": site.name,
            "zone": site.zone,
            "records": await self._threads.run(_documents, offered),
        }

    def request(self, site: Site) -> None:
        """Have the zone scanned again, soon. :raises Overloaded: too many wait already."""
        self._scans.request(site.id, site.zone)

    def _document(
        self, site: Site, kept: KeptScan, language: Language, now: float
    ) -> dict[str, Any]:
        scan = kept.scan
        own = map(str, site.signing.at(now).wanted_ds(apex_name(site.zone)))
        blocked = hindrance(site.zone, scan.ds, own)
        changes = compare(scan.records, site.contents, self._proxies, ttl=self._ttl)
        return {
            "site": site.name,
            "zone": site.zone,
            "made": rfc3339(kept.made),
            "whole": scan.whole,
            "records": _documents(scan.records),
            "servers": [
                {"name": server.name, "addresses": [str(address) for address in server.addresses]}
                for server in scan.servers
            ],
            "ds": list(scan.ds),
            "blocked_by": None if blocked is None else _message(blocked, language),
            "notes": [_message(note, language) for note in scan.notes],
            "differences": asdict(changes),
        }


def _documents(records: Iterable[Record]) -> list[dict[str, str | int]]:
    return [document_of(record) for record in in_order(records)]


def _message(note: Note, language: Language) -> dict[str, str]:
    return {"code": note.code, "message": said(note, language)}
