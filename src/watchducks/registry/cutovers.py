"""The SQL of cutovers: functions of a connection, as in :mod:`watchducks.registry.statements`.

Each step reads where a site is and writes where it is then in one transaction, so that several
hosts may report the same, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection, Select, delete, func, insert, or_, select, update

from watchducks.model import cutover
from watchducks.model.accounts import APPLIANCE, Act
from watchducks.model.certificates import CertificateProgress
from watchducks.model.cutover import UNCLAIMED, CutoverRules, Farewell, Look, Progress, SiteCutover
from watchducks.model.letters import LetterKind, site_letter
from watchducks.model.names import name_key
from watchducks.model.signing import apex_name
from watchducks.model.sites import Site, SiteState
from watchducks.registry import audit, letters
from watchducks.registry.finding import CONTENDER, by_id, by_name
from watchducks.registry.schema import cutovers, registry, removals, sites, wishes
from watchducks.registry.statements import advance, lock, remove

# A look takes half a minute at most. If the host that took it died, another takes it after this.
LEASE_SECONDS: Final = 120


def any_due(connection: Connection, now: int) -> bool:
    """Return whether a site is to be looked at. Reads only."""
    query = _due(now).limit(1)
    return connection.execute(query).first() is not None


def take_due(connection: Connection, now: int, limit: int) -> list[SiteCutover]:
    """Return sites to look at now, the longest due first, and keep others from taking them for
    :data:`LEASE_SECONDS`."""
    lock(connection)
    taken = []
    for site_id in connection.execute(_due(now).limit(limit)).scalars().all():
        found = of_site(connection, site_id)
        if found is not None:
            _keep(connection, site_id, replace(found.progress, due=now + LEASE_SECONDS))
            taken.append(found)
    return taken


def of_site(connection: Connection, site_id: int) -> SiteCutover | None:
    """Return how far a site is; None: there is none of this id."""
    site = by_id(connection, site_id)
    if site is None:
        return None
    packed = connection.execute(
        select(cutovers.c.progress).where(cutovers.c.site_id == site_id)
    ).scalar()
    progress = cutover.begun(site.created) if packed is None else Progress.unpack(packed)
    lineage = connection.execute(select(registry.c.lineage)).scalar_one()
    rivals = connection.execute(
        select(func.count())
        .select_from(sites)
        .where(sites.c.id != site_id)
        .where(
            or_(
                sites.c.zone == site.zone,
                sites.c.zone.startswith(f"{site.zone}{CONTENDER}", autoescape=True),
            )
        )
    ).scalar_one()
    taken = site.contender and _holder(connection, site.zone) not in {None, *UNCLAIMED}
    return SiteCutover(site, progress, cutover.challenge(lineage, site), rivals, taken)


def keep_look(
    connection: Connection,
    site_id: int,
    look: Look,
    own: Collection[str],
    rules: CutoverRules,
    now: int,
) -> tuple[Site, bool] | None:
    """Take over what was seen; returns the site, and whether its followers have to know.

    A contender gets the zone when nobody holds it any more, or when it has proven its claim and the
    holder has none.
    """
    revision = lock(connection)
    found = of_site(connection, site_id)
    if found is None:
        return None
    site = found.site
    state, progress = cutover.after_look(
        site.state,
        found.progress,
        look,
        own=own,
        rivals=found.rivals > 0,
        rules=rules,
        now=now,
        own_ds=site.signing.at(now).own_ds(apex_name(site.zone)),
    )
    gets_zone = site.contender and _gives_way(connection, site.zone, proven=progress.proven > 0)
    if site.contender and not gets_zone:
        state = site.state
    _keep(connection, site_id, progress)
    if state is site.state and not gets_zone:
        return site, False
    advance(connection, revision)
    if gets_zone:
        # Whoever follows the registry replaces the holder by the new one; there is one at most.
        connection.execute(
            update(sites)
            .where(sites.c.zone == site.zone)
            .values(zone=f"{site.zone}{CONTENDER}{revision}", state=SiteState.REGISTERED.value)
        )
        connection.execute(delete(removals).where(removals.c.zone == site.zone))
    connection.execute(
        update(sites)
        .where(sites.c.id == site_id)
        .values(zone=site.zone, state=state.value, revision=revision)
    )
    after = replace(site, state=state, revision=revision, contender=False)
    _tell(connection, site, after, now)
    if site.state in UNCLAIMED and state not in UNCLAIMED:
        letters.post(connection, site_letter(LetterKind.DELEGATED, after), now)
    elif state is SiteState.MOVED:
        letters.post(connection, site_letter(LetterKind.MOVED, after), now)
    return after, True


def _tell(connection: Connection, before: Site, after: Site, now: int) -> None:
    """Write down another state of a site."""
    details = {"state": [before.state.value, after.state.value]}
    audit.keep(connection, APPLIANCE, Act.STATE, now, site=after, details=details)


def _gives_way(connection: Connection, zone: str, *, proven: bool) -> bool:
    holder = _holder(connection, zone)
    return holder is None or (proven and holder in UNCLAIMED)


def _holder(connection: Connection, zone: str) -> SiteState | None:
    """Return the state of the site that holds a zone."""
    state = connection.execute(select(sites.c.state).where(sites.c.zone == zone)).scalar()
    return None if state is None else SiteState(state)


def step(
    connection: Connection,
    site_id: int,
    rule: Callable[[SiteState, Progress], tuple[SiteState, Progress]],
    now: int,
) -> tuple[Site, bool] | None:
    """Take the step that ``rule`` allows; returns the site, and whether anything is different."""
    revision = lock(connection)
    found = of_site(connection, site_id)
    if found is None or found.site.contender:
        return None
    state, progress = rule(found.site.state, found.progress)
    if progress != found.progress:
        _keep(connection, site_id, progress)
    if state is found.site.state:
        return found.site, False
    advance(connection, revision)
    connection.execute(
        update(sites).where(sites.c.id == site_id).values(state=state.value, revision=revision)
    )
    after = replace(found.site, state=state, revision=revision)
    _tell(connection, found.site, after, now)
    return after, True


def keep_certificates(
    connection: Connection,
    rules: Mapping[int, Callable[[CertificateProgress], CertificateProgress]],
) -> None:
    """Change what became of the certificates of sites, by id."""
    lock(connection)
    for site_id, rule in rules.items():
        found = of_site(connection, site_id)
        if found is not None:
            after = replace(found.progress, certificate=rule(found.progress.certificate))
            _keep(connection, site_id, after)


def look_soon(connection: Connection, key: str, now: int) -> bool:
    """Make a site due, and wish for a certificate that failed, as its owner asks.

    False: it was looked at just now, or it is not there.
    """
    lock(connection)
    site = by_name(connection, key)
    found = None if site is None else of_site(connection, site.id)
    after = None if found is None else cutover.after_click(found.progress, now)
    if found is None or after is None:
        return False
    _keep(connection, found.site.id, after)
    if after.certificate != found.progress.certificate and not found.site.contender:
        own = wishes.c.zone == found.site.zone
        if connection.execute(select(wishes.c.zone).where(own)).first() is None:
            connection.execute(insert(wishes).values(zone=found.site.zone))
    return True


def keep_warned(connection: Connection, site_id: int, now: int) -> None:
    """Keep that a site's owner was told that it will be forgotten."""
    lock(connection)
    found = of_site(connection, site_id)
    if found is not None:
        _keep(connection, site_id, replace(found.progress, warned=now))


def forget(connection: Connection, site_id: int, rules: CutoverRules, now: int) -> int | None:
    """Remove a site if it is time; returns the revision, or None if it is not."""
    lock(connection)
    found = of_site(connection, site_id)
    if found is None:
        return None
    if cutover.farewell(found.site, found.progress, rules, now) is not Farewell.FORGET:
        return None
    letters.post(connection, site_letter(LetterKind.FORGOTTEN, found.site), now)
    audit.keep(connection, APPLIANCE, Act.REMOVED, now, site=found.site)
    return remove(connection, name_key(found.site.name))


def _keep(connection: Connection, site_id: int, progress: Progress) -> None:
    values = {"due": progress.due, "progress": progress.pack()}
    there = connection.execute(select(cutovers.c.site_id).where(cutovers.c.site_id == site_id))
    if there.first() is None:
        connection.execute(insert(cutovers).values(site_id=site_id, **values))
    else:
        connection.execute(update(cutovers).where(cutovers.c.site_id == site_id).values(values))


def adopt(connection: Connection, limit: int) -> bool:
    """Let up to ``limit`` sites that an earlier version registered be looked at; returns whether
    there may be more."""
    lock(connection)
    made = select(cutovers.c.site_id).where(cutovers.c.site_id == sites.c.id)
    rows = connection.execute(
        select(sites.c.id, sites.c.created).where(~made.exists()).order_by(sites.c.id).limit(limit)
    ).all()
    for row in rows:
        _keep(connection, row.id, cutover.begun(row.created))
    return len(rows) == limit


def _due(now: int) -> Select[int]:
    return select(cutovers.c.site_id).where(cutovers.c.due <= now).order_by(cutovers.c.due)
