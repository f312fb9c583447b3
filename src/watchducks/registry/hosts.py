"""What hosts report of themselves, one row a host: no part of any revision."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from watchducks.model.hosts import HostReport, packed, unpacked
from watchducks.registry.registry import Registry
from watchducks.registry.schema import hosts
from watchducks.registry.statements import lock

# A host that is gone for a week has left.
FORGOTTEN_AFTER_SECONDS: Final = 7 * 86_400
# Hosts on one page; whoever has more looks at Prometheus.
MOST_HOSTS: Final = 100


class HostBook:
    """Reports of hosts. Every method may raise StoreUnavailable."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def keep(self, report: HostReport) -> None:
        """Keep a host's report in place of its last one; forget who has left."""

        def write(connection: Connection) -> None:
            lock(connection)
            values = {"at": report.at, "report": packed(report)}
            own = hosts.c.name == report.name
            if not connection.execute(update(hosts).where(own).values(**values)).rowcount:
                connection.execute(insert(hosts).values(name=report.name, **values))
            gone = hosts.c.at < report.at - FORGOTTEN_AFTER_SECONDS
            connection.execute(delete(hosts).where(gone))

        await self._registry.write(write)

    async def hosts(self) -> list[HostReport]:
        """Return the last report of each host, by name."""
        rows = await self._registry.read(
            lambda connection: connection.execute(
                select(hosts.c.name, hosts.c.at, hosts.c.report)
                .order_by(hosts.c.name)
                .limit(MOST_HOSTS)
            ).all()
        )
        found = [unpacked(str(name), int(at), bytes(report)) for name, at, report in rows]
        return [report for report in found if report is not None]
