"""What a zone held before it was ours, and what its visitors miss since, as the API shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from watchducks.background import Threads
from watchducks.console.figures import rfc3339
from watchducks.console.health import said
from watchducks.console.interfaces import Scans
from watchducks.console.languages import Language
from watchducks.console.shown_dns import ShownDns, shown_dns
from watchducks.lookups.compare import Change, Differences, change_of_servers, compare
from watchducks.lookups.missing import missing
from watchducks.model.origins import Address
from watchducks.model.scans import KeptScan, Note, hindrance
from watchducks.model.signing import apex_name
from watchducks.model.sites import Site, SiteState
from watchducks.model.zones import Record
from watchducks.registry.records import document_of, in_order


@dataclass(frozen=True, slots=True)
class Found:
    """What the records page shows of the present DNS.

    :ivar made: when it was looked through, POSIX seconds.
    :ivar blocked: why the name servers must not be changed yet.
    :ivar differences: how the answers there and here differ; None for who is not the owner.
    :ivar whole: all that was there is known, and not only what was guessed.
    :ivar lacking: lines of a zone file: what was found there and the zone here does not have.
    :ivar offers: likewise, what visitors asked for since and only the old name servers have.
    :ivar notes: what could not be asked, and what was left out.
    """

    made: int
    blocked: Note | None
    differences: Differences | None = None
    whole: bool = False
    lacking: Sequence[str] = ()
    offers: Sequence[str] = ()
    notes: Sequence[Note] = ()


class ScanReports:
    """
    :param proxies: what is answered for proxied hosts, with ``ttl`` seconds.
    :param servers: the host names of our name servers.
    :param threads: for printing and comparing records, of which there may be thousands.
    """

    def __init__(
        self,
        scans: Scans,
        proxies: Sequence[Address],
        servers: Sequence[str],
        *,
        ttl: int,
        threads: Threads,
    ) -> None:
        self._scans = scans
        self._proxies = proxies
        self._servers = servers
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

    async def blocked(self, site: Site, language: Language, now: float) -> dict[str, str] | None:
        """Return why the name servers of a site that is not delegated to us yet must not be
        changed; None if they may, or if the scan is not made yet."""
        if site.state is not SiteState.REGISTERED:
            return None
        kept = await self._scans.scan(site.id)
        found = None if kept is None else _hindrance(site, kept, now)
        return None if found is None else _message(found, language)

    async def shown(self, site: Site) -> ShownDns | None:
        """Return what is shown of the scan to the owner of a site that is new; None: it is not made
        yet."""
        kept = await self._scans.scan(site.id)
        if kept is None:
            return None
        return await self._threads.run(shown_dns, kept.scan, site.zone)

    async def page(self, site: Site, now: float, *, offers: bool) -> Found | None:
        """Return what the records page shows; None: the scan is not made yet.

        :param offers: whether the owner is looking, who may see what his zone lacks.
        """
        kept = await self._scans.scan(site.id)
        if kept is None:
            return None
        if not offers:
            return Found(kept.made, _hindrance(site, kept, now))
        return await self._threads.run(self._found, site, kept, now)

    def _found(self, site: Site, kept: KeptScan, now: float) -> Found:
        differences = self._differences(site, kept)
        offered = compare(missing(site, kept.offers), site.contents, (), ttl=self._ttl).removed
        known = {line for change in differences.removed for line in _lines(change)}
        return Found(
            kept.made,
            _hindrance(site, kept, now),
            differences,
            kept.scan.whole,
            sorted(known),
            sorted({line for change in offered for line in _lines(change)} - known),
            kept.scan.notes,
        )

    def _differences(self, site: Site, kept: KeptScan) -> Differences:
        former = [server.name for server in kept.scan.servers]
        return compare(
            kept.scan.records,
            site.contents,
            self._proxies,
            ttl=self._ttl,
            servers=change_of_servers(former, self._servers) if former else None,
        )

    def request(self, site: Site) -> None:
        """Have the zone scanned again, soon. :raises Overloaded: too many wait already."""
        self._scans.request(site.id, site.zone)

    def _document(
        self, site: Site, kept: KeptScan, language: Language, now: float
    ) -> dict[str, Any]:
        scan, blocked = kept.scan, _hindrance(site, kept, now)
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
            "differences": asdict(self._differences(site, kept)),
        }


def _hindrance(site: Site, kept: KeptScan, now: float) -> Note | None:
    own = site.signing.at(now).own_ds(apex_name(site.zone))
    return hindrance(site.zone, kept.scan.ds, own)


def _lines(change: Change) -> list[str]:
    return [f"{change.name} {change.old_ttl} {change.type} {value}" for value in change.old]


def _documents(records: Iterable[Record]) -> list[dict[str, str | int]]:
    return [document_of(record) for record in in_order(records)]


def _message(note: Note, language: Language) -> dict[str, str]:
    return {"code": note.code, "message": said(note, language)}
