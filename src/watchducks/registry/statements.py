"""The registry's SQL: functions of a connection, each a whole transaction's work.

They run in the store's threads and return frozen data. Writers call :func:`lock` before anything
else: it locks the registry's one row, so that what a writer reads afterwards is the latest, and
stays true until it commits.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, replace
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Row,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    true,
)
from sqlalchemy import update as update_rows

from watchducks.model import cutover
from watchducks.model.accounts import Viewer
from watchducks.model.changes import Changes, Head
from watchducks.model.cutover import CutoverRules
from watchducks.model.letters import LetterKind, site_letter
from watchducks.model.names import MAX_DOMAIN_CHARACTERS, name_key, zone_of
from watchducks.model.origins import leads_back, parse_origin
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.signing import Signing
from watchducks.model.sites import Registration, Site, SiteChoices, SiteState, Visibility
from watchducks.model.zones import ZoneContents, owner_labels
from watchducks.registry import letters
from watchducks.registry.accounts import forget_account
from watchducks.registry.keys import KeyStep, ZoneKeys
from watchducks.registry.registration import SiteChanges, chosen
from watchducks.registry.schema import cutovers, owners, registry, removals, sites, tokens

# RFC 1035 section 2.3.4: 255 octets of at least two each, and the root's one.
MAX_LABELS: Final = 127
# Of an unlisted site's link: nobody guesses one.
SHARE_BYTES: Final = 16
# Stands behind a contender's zone, before a number. No name has it.
CONTENDER: Final = "#"


class Conflict(InvalidFields):
    """The fields are fine, but somebody was there first."""


class SiteNotFound(LookupError):
    """There is no site of that name."""


class RevisionChanged(Exception):
    """The site is no longer what the writer had read; nothing was written."""


_SITE = select(
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
).join_from(sites, owners)


def _site(row: Row[*tuple[Any, ...]]) -> Site:
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
    )


# --- writing --------------------------------------------------------------------------------------


def register(
    connection: Connection, wanted: Registration, digest: str, now: int, rules: CutoverRules
) -> Site:
    """Add a site, its owner if he is new, and the owner's token.

    Sites whose registrants have not shown that the domain is theirs take nothing from anybody: a
    site with the zone of such a one becomes a contender.

    :raises Conflict: the name or one of the hosts is taken.
    """
    revision = lock(connection)
    key, zone = name_key(wanted.name), wanted.zone or zone_of(wanted.domain)
    problems: dict[str, Problem] = {}
    if connection.execute(select(sites.c.id).where(sites.c.name_key == key)).first():
        problems["name"] = Problem("taken", "The name {value} is taken.", value=wanted.name)
    # Two zones must not share a host either: "www.a" could be a zone, and the www of zone "a".
    neighbours = {zone, f"www.{zone}", zone.removeprefix("www.")}
    states = {
        row.zone: SiteState(row.state)
        for row in connection.execute(
            select(sites.c.zone, sites.c.state).where(sites.c.zone.in_(neighbours))
        )
    }
    held = f"{zone}{CONTENDER}{revision}" if zone in states else zone
    if (
        any(map(rules.claims, states.values()))
        or _is_used_above(connection, zone, rules)
        # No domain is that long but one that somebody made up for it.
        or len(held) > MAX_DOMAIN_CHARACTERS
    ):
        problems["domain"] = Problem(
            "registered", "{value} is registered already.", value=wanted.domain
        )
    if problems:
        raise Conflict(problems)
    advance(connection, revision)
    site_id = _insert(
        connection,
        insert(sites).values(
            name=wanted.name,
            name_key=key,
            domain=wanted.domain,
            zone=held,
            origin=str(wanted.origin),
            owner_id=_owner(connection, wanted.email, wanted.language),
            cohort=wanted.cohort,
            state=SiteState.REGISTERED.value,
            revision=revision,
            created=now,
            contents=wanted.contents.pack() or None,
            **asdict(wanted.choices),
        ),
    )
    connection.execute(
        insert(tokens).values(kind="owner", site_id=site_id, digest=digest, created=now)
    )
    begun = cutover.begun(now)
    connection.execute(
        insert(cutovers).values(site_id=site_id, due=begun.due, progress=begun.pack())
    )
    # For followers the new site replaces whatever had the zone before.
    connection.execute(delete(removals).where(removals.c.zone == held))
    site = _site(connection.execute(_SITE.where(sites.c.id == site_id)).one())
    _check_hosts(connection, site, rules)
    letter = site_letter(LetterKind.REGISTRATION, site, language=wanted.language)
    letters.post(connection, letter, now)
    return site


def update(
    connection: Connection, key: str, changes: SiteChanges, keys: ZoneKeys, now: int
) -> tuple[Site, bool]:
    """Change a site; returns it, and whether anything is different.

    :param keys: makes the key of a zone that is to be signed.
    :raises SiteNotFound: there is none with this name key.
    :raises InvalidFields: the changes do not fit what the site has already.
    """
    revision = lock(connection)
    before = by_name(connection, key)
    if before is None:
        raise SiteNotFound
    origin = before.origin if changes.origin is None else changes.origin
    back = leads_back(origin, before.hosts)
    if back is not None and changes.origin is not None:
        raise InvalidFields({"origin": back})
    email = before.email if changes.email is None else changes.email
    cohort = before.cohort if changes.cohort is None else changes.cohort
    choices = chosen(before.choices, changes)
    signing = before.signing
    if changes.dnssec is not None:
        signing = keys.switched(before, on=changes.dnssec)
    visibility = before.visibility if changes.visibility is None else changes.visibility
    share = before.share
    if visibility is Visibility.UNLISTED and not share:
        share = secrets.token_urlsafe(SHARE_BYTES)
    drill_until = before.drill_until
    if changes.drill is not None:
        drill_until = now + cutover.DRILL_SECONDS if changes.drill else 0
    after = replace(
        before,
        origin=origin,
        email=email,
        cohort=cohort,
        choices=choices,
        signing=signing,
        visibility=visibility,
        share=share,
        drill_until=drill_until,
    )
    if after == before:
        return before, False
    advance(connection, revision)
    connection.execute(
        update_rows(sites)
        .where(sites.c.id == before.id)
        .values(
            origin=str(origin),
            owner_id=_owner(connection, email),
            cohort=cohort,
            revision=revision,
            signing=signing.pack() or None,
            visibility=visibility.value,
            share=share,
            drill_until=drill_until,
            **asdict(choices),
        )
    )
    _forget_owner_without_sites(connection, before.email)
    return _site(connection.execute(_SITE.where(sites.c.id == before.id)).one()), True


def keep_contents(
    connection: Connection,
    key: str,
    contents: ZoneContents,
    expected: int | None,
    rules: CutoverRules,
) -> tuple[Site, bool]:
    """Replace what a site's zone holds; returns the site, and whether anything is different.

    :param expected: the revision of the site that the writer has seen; None: whatever it is.
    :raises SiteNotFound: there is none with this name key.
    :raises RevisionChanged: the site has another revision.
    :raises Conflict: a host is to be proxied that another site's zone answers for.
    """
    revision = lock(connection)
    before = by_name(connection, key)
    if before is None:
        raise SiteNotFound
    if expected is not None and before.revision != expected:
        raise RevisionChanged
    if contents == before.contents:
        return before, False
    _check_hosts(connection, replace(before, contents=contents), rules)
    advance(connection, revision)
    connection.execute(
        update_rows(sites)
        .where(sites.c.id == before.id)
        .values(contents=contents.pack() or None, revision=revision)
    )
    return replace(before, contents=contents, revision=revision), True


def step_keys(connection: Connection, key: str, step: KeyStep, keys: ZoneKeys) -> Site:
    """Take one step of a site's zone keys; returns the site.

    :raises SiteNotFound: there is none with this name key.
    :raises InvalidFields: it is not the time for this step.
    """
    revision = lock(connection)
    before = by_name(connection, key)
    if before is None:
        raise SiteNotFound
    signing = keys.stepped(before, step)
    advance(connection, revision)
    connection.execute(
        update_rows(sites)
        .where(sites.c.id == before.id)
        .values(revision=revision, signing=signing.pack())
    )
    return replace(before, revision=revision, signing=signing)


def renew_share(connection: Connection, key: str) -> Site:
    """Give a site a new link, so that the one before is good no more; returns the site.

    Who follows the registry need not know.

    :raises SiteNotFound: there is none with this name key.
    """
    lock(connection)
    before = by_name(connection, key)
    if before is None:
        raise SiteNotFound
    share = secrets.token_urlsafe(SHARE_BYTES)
    connection.execute(update_rows(sites).where(sites.c.id == before.id).values(share=share))
    return replace(before, share=share)


def _is_used_above(connection: Connection, zone: str, rules: CutoverRules) -> bool:
    """Return whether somebody's zone around ``zone`` leads or answers for it or a name below it.

    The closest zone answers: a new one would take these names from their owner.
    """
    for site in _around(connection, zone):
        if not rules.claims(site.state):
            continue
        if any(f".{host}".endswith(f".{zone}") for host in site.hosts):
            return True
        labels = tuple(zone.removesuffix(site.zone).rstrip(".").encode("ascii").split(b"."))
        if any(
            owner_labels(record.owner)[-len(labels) :] == labels for record in site.contents.records
        ):
            return True
    return False


def _check_hosts(connection: Connection, site: Site, rules: CutoverRules) -> None:
    """Refuse hosts at or below a zone of another site within this one: nobody would ask us here."""
    hosts = {
        host[start:]: host
        for host in site.hosts
        for start in _label_starts(host.removesuffix(site.zone))
    }
    others = connection.execute(
        select(sites.c.zone, sites.c.state).where(
            sites.c.zone.in_(hosts), sites.c.zone != site.zone
        )
    )
    for row in others:
        if rules.claims(SiteState(row.state)):
            problem = Problem("registered", "{value} is registered already.", value=row.zone)
            raise Conflict({"proxied": problem})


def _label_starts(relative: str) -> list[int]:
    """Return where the labels of "a.b." begin."""
    return [place for place in range(len(relative)) if place == 0 or relative[place - 1] == "."]


def remove(connection: Connection, key: str) -> int:
    """Forget a site and return the revision.

    :raises SiteNotFound: there is none with this name key.
    """
    revision = lock(connection)
    site = by_name(connection, key)
    if site is None:
        raise SiteNotFound
    advance(connection, revision)
    connection.execute(delete(sites).where(sites.c.id == site.id))
    if not site.contender:
        connection.execute(
            insert(removals).values(zone=site.zone, site_id=site.id, revision=revision)
        )
    _forget_owner_without_sites(connection, site.email)
    return revision


def lock(connection: Connection) -> int:
    """Let no other writer in until this transaction ends; returns the revision to be written."""
    # SQLite knows no FOR UPDATE and leaves it out: its writers hold the lock from their BEGIN on.
    revision: int = connection.execute(select(registry.c.revision).with_for_update()).scalar_one()
    return revision + 1


def advance(connection: Connection, revision: int) -> None:
    """Let the transaction's writes be the revision that :func:`lock` returned."""
    connection.execute(update_rows(registry).values(revision=revision))


def _owner(connection: Connection, email: str, language: str = "") -> int:
    """Return the id of the owner with this address, who is added if he is new."""
    found: int | None = connection.execute(
        select(owners.c.id).where(owners.c.email == email)
    ).scalar()
    if found is not None:
        # Whoever registers with his address does not choose his language.
        return found
    return _insert(connection, insert(owners).values(email=email, language=language))


def _insert(connection: Connection, statement: Insert) -> int:
    """Insert one row and return its id."""
    key = connection.execute(statement).inserted_primary_key
    assert key is not None  # what an INSERT of one row always has
    return int(key[0])


def _forget_owner_without_sites(connection: Connection, email: str) -> None:
    """An address is kept only as long as it is needed, and with it what signs it in."""
    his = select(sites.c.id).where(sites.c.owner_id == owners.c.id)
    gone = connection.execute(delete(owners).where(owners.c.email == email, ~his.exists()))
    if gone.rowcount:
        forget_account(connection, email)


# --- reading --------------------------------------------------------------------------------------


def by_name(connection: Connection, key: str) -> Site | None:
    """Return the site with this name key."""
    row = connection.execute(_SITE.where(sites.c.name_key == key)).first()
    return None if row is None else _site(row)


def by_id(connection: Connection, site_id: int) -> Site | None:
    """Return the site with this id."""
    row = connection.execute(_SITE.where(sites.c.id == site_id)).first()
    return None if row is None else _site(row)


def by_host(connection: Connection, host: str, rules: CutoverRules) -> Site | None:
    """Return the site that serves ``host``: the closest zone around it, if the host is proxied.

    A zone that is nobody's, as far as we have seen, does not stand before one that is somebody's.
    """
    closest = max(
        (site for site in _around(connection, host) if rules.carries(site.state)),
        key=lambda site: (rules.claims(site.state), len(site.zone)),
        default=None,
    )
    return closest if closest is not None and host in closest.hosts else None


def _around(connection: Connection, host: str) -> list[Site]:
    """Return the sites whose zones ``host`` is in."""
    labels = host.split(".")
    # No name has more labels; a longer one is nobody's, and would be a query of any size.
    if len(labels) > MAX_LABELS:
        return []
    zones = [".".join(labels[start:]) for start in range(len(labels))]
    return [_site(row) for row in connection.execute(_SITE.where(sites.c.zone.in_(zones)))]


def page(
    connection: Connection, cohort: str | None, after: str | None, limit: int, viewer: Viewer
) -> list[Site]:
    """Return up to ``limit`` sites that ``viewer`` may see listed, behind the name key ``after``,
    in the order of their keys."""
    query = _SITE.where(_listed(viewer)).order_by(sites.c.name_key).limit(limit)
    if cohort is not None:
        query = query.where(sites.c.cohort == cohort)
    if after is not None:
        query = query.where(sites.c.name_key > after)
    return [_site(row) for row in connection.execute(query)]


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
    query = _SITE.where(owners.c.email == email).order_by(sites.c.name_key).limit(limit)
    return [_site(row) for row in connection.execute(query)]


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
        _SITE.where(sites.c.revision > revision, ~sites.c.zone.contains(CONTENDER))
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
        sites=tuple(_site(row) for row in changed if row.revision <= last),
        removed=tuple(row.zone for row in gone if row.revision <= last),
        more=more,
    )


# --- tokens ---------------------------------------------------------------------------------------


def add_admin_token(connection: Connection, digest: str, now: int) -> None:
    """Add a token that is good for every site."""
    connection.execute(
        insert(tokens).values(kind="admin", site_id=None, digest=digest, created=now)
    )
