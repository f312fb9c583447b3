"""The audit trail: who did what to which site, when, and from where. SQL, as in
:mod:`watchducks.registry.statements`.

An entry is written in the transaction of what it tells, so that there is no change without one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select

from watchducks.model.accounts import Act, Actor, Entry
from watchducks.model.sites import Site
from watchducks.registry.schema import ACTOR_CHARACTERS, NETWORK_CHARACTERS, audit

# A year and a month: what happened before last year's renewal can still be looked up.
KEPT_SECONDS: Final = 400 * 24 * 3600
# Each entry takes some of the oldest along, so that the trail stops growing.
FORGOTTEN_AT_ONCE: Final = 10
# Before and after of one field; a zone's records are told as numbers.
MAX_VALUE_CHARACTERS: Final = 200

# What an owner may change, as the trail names it. A link's secret is not told.
_FIELDS: Final = ("origin", "email", "cohort", "visibility")


def keep(
    connection: Connection,
    actor: Actor,
    act: Act,
    now: int,
    *,
    site: Site | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write an entry."""
    connection.execute(
        insert(audit).values(
            at=now,
            actor=actor.name[:ACTOR_CHARACTERS],
            network=actor.network[:NETWORK_CHARACTERS],
            act=act.value,
            site_id=None if site is None else site.id,
            site="" if site is None else site.name,
            details=json.dumps(dict(details or {}), ensure_ascii=False).encode(),
        )
    )
    old = select(audit.c.id).where(audit.c.at < now - KEPT_SECONDS).limit(FORGOTTEN_AT_ONCE)
    gone = connection.execute(old).scalars().all()
    if gone:
        connection.execute(delete(audit).where(audit.c.id.in_(gone)))


def page(
    connection: Connection, site_id: int | None, before: int | None, limit: int
) -> list[Entry]:
    """Return entries, the latest first.

    :param site_id: of one site; None: all.
    :param before: the number of the last entry of the page before.
    """
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if site_id is not None:
        query = query.where(audit.c.site_id == site_id)
    if before is not None:
        query = query.where(audit.c.id < before)
    return [
        Entry(
            row.id,
            row.at,
            Actor(row.actor, row.network),
            Act(row.act),
            row.site_id,
            row.site,
            json.loads(row.details),
        )
        for row in connection.execute(query)
    ]


def difference(before: Site, after: Site) -> dict[str, list[str]]:
    """Return the fields of a site that are different, each with before and after."""
    values = [
        {name: str(getattr(site, name)) for name in _FIELDS}
        | {name: str(value) for name, value in asdict(site.choices).items()}
        | {"dnssec": str(site.signing.wanted), "proxied": " ".join(site.contents.proxied)}
        | {"records": str(len(site.contents.records)), "drill_until": str(site.drill_until)}
        | {"suspended": str(site.suspended)}
        for site in (before, after)
    ]
    return {
        name: [value[:MAX_VALUE_CHARACTERS], values[1][name][:MAX_VALUE_CHARACTERS]]
        for name, value in values[0].items()
        if value != values[1][name]
    }
