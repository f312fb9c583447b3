"""The registry's SQL that reads sites: functions of a connection, each within one transaction.

They run in the store's threads and return frozen data.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select, true

from watchducks.model.accounts import Viewer
from watchducks.model.changes import Changes, Head
from watchducks.model.cutover import CutoverRules
from watchducks.model.origins import parse_origin
from watchducks.model.signing import Signing
from watchducks.model.sites import Site, SiteChoices, SiteState, Visibility
from watchducks.model.zones import ZoneContents
from watchducks.registry.schema import owners, registry, removals, sites

# RFC 1035 section 2.3.4: 255 octets of at least two each, and the root's one.
MAX_LABELS: Final = 127
# Stands behind a contender's zone, before a number. No name has it.
CONTENDER: Final = "#"

# What a Site is made of.
SITE: Final = select(
    sites.c.id,
    sites.c.name,
    sites.c.domain,
    sites.c.zone,
    sites.c.origin,
    owners.c.email,
    sites.c.cohort,
    sites.c.state,
    sites.c.revision,
    sites.c.created,
    sites.c.origin_tls,
    sites.c.origin_pin,
    sites.c.redirect_to_https,
    sites.c.hsts_seconds,
    sites.c.keep_networks,
    sites.c.query_parameters,
    sites.c.honour_gpc,
    sites.c.ranked,
    sites.c.contents,
    sites.c.signing,
    sites.c.visibility,
    sites.c.share,
    sites.c.drill_until,
    sites.c.suspended,
).join_from(sites, owners)


def site_of(row: Row[*tuple[Any, ...]]) -> Site:
    """Return the site of a row of :data:`SITE`."""
    return Site(
        id=row.id,
        name=row.name,
        domain=row.domain,
        zone=row.zone.partition(CONTENDER)[0],
        origin=parse_origin(row.origin),
        email=row.email,
        cohort=row.cohort,
        state=SiteState(row.state),
        revision=row.revision,
        created=row.created,
        choices=SiteChoices.read(
            row.origin_tls,
            row.origin_pin,
            row.redirect_to_https,
            row.hsts_seconds,
            row.keep_networks,
            row.query_parameters,
            row.honour_gpc,
            row.ranked,
        ),
        contents=ZoneContents.unpack(row.contents or b""),
        signing=Signing.unpack(row.signing or b""),
        contender=CONTENDER in row.zone,
        visibility=Visibility(row.visibility),
        share=row.share,
        drill_until=row.drill_until,
        suspended=bool(row.suspended),
    )


def by_name(connection: Connection, key: str) -> Site | None:
    """Return the site with this name key."""
    row = connection.execute(SITE.where(sites.c.name_key == key)).first()
    return None if row is None else site_of(row)


def by_id(connection: Connection, site_id: int) -> Site | None:
    """Return the site with this id."""
    row = connection.execute(SITE.where(sites.c.id == site_id)).first()
    return None if row is None else site_of(row)


def by_host(connection: Connection, host: str, rules: CutoverRules) -> Site | None:
    """Return the site that serves ``host``: the closest zone around it, if the host is proxied.

    A zone that is nobody's, as far as we have seen, does not stand before one that is somebody's.
    """
    closest = max(
        (site for site in around(connection, host) if rules.carries(site.state)),
        key=lambda site: (rules.claims(site.state), len(site.zone)),
        default=None,
    )
    return closest if closest is not None and host in closest.hosts else None


def around(connection: Connection, host: str) -> list[Site]:
    """Return the sites whose zones ``host`` is in."""
    labels = host.split(".")
    # No name has more labels; a longer one is nobody's, and would be a query of any size.
    if len(labels) > MAX_LABELS:
        return []
    zones = [".".join(labels[start:]) for start in range(len(labels))]
    return [site_of(row) for row in connection.execute(SITE.where(sites.c.zone.in_(zones)))]


def page(
    connection: Connection, cohort: str | None, after: str | None, limit: int, viewer: Viewer
) -> list[Site]:
    """Return up to ``limit`` sites that ``viewer`` may see listed, behind the name key ``after``,
    in the order of their keys."""
    query = SITE.where(_listed(viewer)).order_by(sites.c.name_key).limit(limit)
    if cohort is not None:
        query = query.where(sites.c.cohort == cohort)
    if after is not None:
        query = query.where(sites.c.name_key > after)
    return [site_of(row) for row in connection.execute(query)]


def count(connection: Connection, cohort: str | None, viewer: Viewer) -> int:
    """Return the number of sites that ``viewer`` may see listed, in a cohort or at all."""
    query = select(func.count()).select_from(sites.join(owners)).where(_listed(viewer))
    if cohort is not None:
        query = query.where(sites.c.cohort == cohort)
    return connection.execute(query).scalar_one()


def cohorts(connection: Connection, viewer: Viewer) -> list[tuple[str, int]]:
    """Return each cohort with its number of sites that ``viewer`` may see listed."""
    query = (
        select(sites.c.cohort, func.count())
        .join_from(sites, owners)
        .where(_listed(viewer))
        .group_by(sites.c.cohort)
        .order_by(sites.c.cohort)
    )
    return [(name, number) for name, number in connection.execute(query)]


def of_owner(connection: Connection, email: str, limit: int) -> list[Site]:
    """Return an owner's sites, in the order of their keys."""
    query = SITE.where(owners.c.email == email).order_by(sites.c.name_key).limit(limit)
    return [site_of(row) for row in connection.execute(query)]


def _listed(viewer: Viewer) -> ColumnElement[bool]:
    """Return the condition that a site is in the lists that ``viewer`` sees: what everybody may
    see, and what is his (:meth:`watchducks.model.accounts.Viewer.owns`)."""
    if viewer.admin and viewer.site_id is None:
        return true()
    his = [sites.c.visibility == Visibility.PUBLIC.value, sites.c.id.in_(viewer.owned)]
    if viewer.email and viewer.site_id is None:
        his.append(owners.c.email == viewer.email)
    elif viewer.site_id is not None:
        own = sites.c.id == viewer.site_id
        his.append(and_(own, owners.c.email == viewer.email) if viewer.email else own)
    return or_(*his)


def head(connection: Connection) -> Head:
    """Return the registry's lineage and revision."""
    row = connection.execute(select(registry.c.lineage, registry.c.revision)).one()
    return Head(row.lineage, row.revision)


def changes_since(connection: Connection, revision: int, limit: int) -> Changes:
    """Return up to ``limit`` changes after ``revision``, the oldest first.

    Site rows and removals each have the revision of their last change, and no two have the same,
    so merging them in this order gives each follower the same story from wherever it stands.
    """
    now = head(connection).revision
    # One more than asked for tells whether there is more.
    changed = connection.execute(
        SITE.where(sites.c.revision > revision, ~sites.c.zone.contains(CONTENDER))
        .order_by(sites.c.revision)
        .limit(limit + 1)
    ).all()
    gone = connection.execute(
        select(removals.c.zone, removals.c.revision)
        .where(removals.c.revision > revision)
        .order_by(removals.c.revision)
        .limit(limit + 1)
    ).all()
    revisions = sorted([row.revision for row in changed] + [row.revision for row in gone])
    more = len(revisions) > limit
    last = revisions[limit - 1] if more else now
    return Changes(
        revision=last,
        sites=tuple(site_of(row) for row in changed if row.revision <= last),
        removed=tuple(row.zone for row in gone if row.revision <= last),
        more=more,
    )
