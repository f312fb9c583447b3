"""The registry's SQL that writes: functions of a connection, each a whole transaction's work.

They run in the store's threads and return frozen data. Writers call :func:`lock` before anything
else: it locks the registry's one row, so that what a writer reads afterwards is the latest, and
stays true until it commits.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, replace
from typing import Final

from sqlalchemy import (
    Connection,
    Insert,
    delete,
    insert,
    select,
)
from sqlalchemy import update as update_rows

from watchducks.model import cutover
from watchducks.model.cutover import CutoverRules
from watchducks.model.letters import LetterKind, site_letter
from watchducks.model.names import MAX_DOMAIN_CHARACTERS, name_key, zone_of
from watchducks.model.origins import leads_back
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import Registration, Site, SiteState, Visibility
from watchducks.model.zones import ZoneContents, owner_labels
from watchducks.registry import letters, unwanted
from watchducks.registry.accounts import forget_account
from watchducks.registry.finding import CONTENDER, SITE, around, by_name, site_of
from watchducks.registry.keys import KeyStep, ZoneKeys
from watchducks.registry.registration import SiteChanges, chosen
from watchducks.registry.schema import cutovers, owners, registry, removals, sites, tokens

# Of an unlisted site's link: nobody guesses one.
SHARE_BYTES: Final = 16


class Conflict(InvalidFields):
    """The fields are fine, but somebody was there first."""


class SiteNotFound(LookupError):
    """There is no site of that name."""


class RevisionChanged(Exception):
    """The site is no longer what the writer had read; nothing was written."""


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
    site = site_of(connection.execute(SITE.where(sites.c.id == site_id)).one())
    _check_hosts(connection, site, rules)
    letter = site_letter(LetterKind.REGISTRATION, site, language=wanted.language)
    letters.post(connection, letter, now)
    return site


def update(
    connection: Connection,
    key: str,
    changes: SiteChanges,
    keys: ZoneKeys,
    now: int,
    drill_seconds: int = cutover.DRILL_SECONDS,
) -> tuple[Site, bool]:
    """Change a site; returns it, and whether anything is different.

    :param keys: makes the key of a zone that is to be signed.
    :param drill_seconds: how long a drill lasts that begins.
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
        drill_until = now + drill_seconds if changes.drill else 0
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
    return site_of(connection.execute(SITE.where(sites.c.id == before.id)).one()), True


def suspend(connection: Connection, key: str, now: int, *, suspended: bool) -> tuple[Site, bool]:
    """Suspend a site, and tell its owner, or let it go on; returns it, and whether it is changed.

    :raises SiteNotFound: there is none with this name key.
    """
    revision = lock(connection)
    before = by_name(connection, key)
    if before is None:
        raise SiteNotFound
    if before.suspended == suspended:
        return before, False
    advance(connection, revision)
    connection.execute(
        update_rows(sites)
        .where(sites.c.id == before.id)
        .values(suspended=suspended, revision=revision)
    )
    if suspended:
        letters.post(connection, site_letter(LetterKind.SUSPENDED, before), now)
    return site_of(connection.execute(SITE.where(sites.c.id == before.id)).one()), True


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
    for site in around(connection, zone):
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
    unwanted.forget_site(connection, site.id)
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


def add_admin_token(connection: Connection, digest: str, now: int) -> None:
    """Add a token that is good for every site."""
    connection.execute(
        insert(tokens).values(kind="admin", site_id=None, digest=digest, created=now)
    )
