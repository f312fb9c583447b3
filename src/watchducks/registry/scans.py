"""The SQL of scans: functions of a connection, as in :mod:`watchducks.registry.statements`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, insert, select, update

from watchducks.model.scans import KeptScan, Scan
from watchducks.model.zones import Record, ZoneContents
from watchducks.registry.finding import CONTENDER
from watchducks.registry.schema import scans, sites
from watchducks.registry.statements import lock

# Records that one site is offered: as many as a person looks through.
MAX_OFFERS: Final = 200


def without(connection: Connection, after: int, since: int, limit: int) -> list[tuple[int, str]]:
    """Return id and zone of sites that have no scan, in the order of their ids.

    :param after: only ids above this one.
    :param since: only sites registered since this time, in POSIX seconds.
    """
    made = select(scans.c.site_id).where(scans.c.site_id == sites.c.id)
    query = (
        select(sites.c.id, sites.c.zone)
        .where(sites.c.id > after, sites.c.created >= since, ~made.exists())
        .order_by(sites.c.id)
        .limit(limit)
    )
    rows = connection.execute(query)
    return [(row.id, row.zone.partition(CONTENDER)[0]) for row in rows]


def keep(connection: Connection, site_id: int, scan: Scan, now: int) -> bool:
    """Keep a site's scan in place of the one before, with its offers; False: it has left."""
    lock(connection)
    if not _is_there(connection, site_id):
        return False
    records, report = scan.pack()
    values = {"made": now, "records": records, "report": report}
    changed = connection.execute(update(scans).where(scans.c.site_id == site_id).values(values))
    if changed.rowcount == 0:
        connection.execute(insert(scans).values(site_id=site_id, **values))
    return True


def of_site(connection: Connection, site_id: int) -> KeptScan | None:
    """Return a site's scan, or None if there is none yet."""
    row = connection.execute(select(scans).where(scans.c.site_id == site_id)).first()
    if row is None:
        return None
    offers = ZoneContents.unpack(row.offers or b"").records
    return KeptScan(row.made, Scan.unpack(row.records, row.report), offers)


def offer(connection: Connection, site_id: int, found: tuple[Record, ...]) -> None:
    """Add records to what a site is offered; beyond :data:`MAX_OFFERS` the oldest are dropped."""
    lock(connection)
    kept = of_site(connection, site_id)
    if kept is None:
        return
    offers = tuple(dict.fromkeys([*kept.offers, *found]))[-MAX_OFFERS:]
    if offers != kept.offers:
        packed = ZoneContents((), offers).pack()
        connection.execute(update(scans).where(scans.c.site_id == site_id).values(offers=packed))


def _is_there(connection: Connection, site_id: int) -> bool:
    return connection.execute(select(sites.c.id).where(sites.c.id == site_id)).first() is not None
