"""The SQL of accounts: functions of a connection, as in :mod:`watchducks.registry.statements`."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from watchducks.model.accounts import (
    LINK_SECONDS,
    MAX_LINKS,
    MAX_SESSIONS,
    MAX_TOKENS,
    SESSION_SECONDS,
    USED_SECONDS,
    Scope,
    Token,
    Viewer,
)
from watchducks.model.problems import InvalidFields, Problem
from watchducks.registry import unwanted
from watchducks.registry.schema import admins, links, owners, sessions, sites, tokens

# What is over is forgotten when something new begins, so many at a time: bounded work that keeps
# up, since each of them began the same way.
FORGOTTEN_AT_ONCE: Final = 20


# --- signing in -----------------------------------------------------------------------------------


def addresses(connection: Connection, typed: str) -> list[str]:
    """Return the addresses of accounts that ``typed`` may mean: people write theirs in capitals or
    not, and nobody's mail server minds."""
    lowered = typed.lower()
    found: set[str] = set()
    for table in (owners, admins):
        query = select(table.c.email).where(func.lower(table.c.email) == lowered)
        found |= set(connection.execute(query.limit(MAX_LINKS)).scalars())
    return sorted(found)


def add_link(connection: Connection, email: str, digest: str, now: int) -> None:
    """Add a link; of an address's, only the latest stay good."""
    _forget_old(connection, links, now)
    connection.execute(insert(links).values(digest=digest, email=email, expires=now + LINK_SECONDS))
    _keep_latest(connection, links, email, MAX_LINKS)


def link_of(connection: Connection, digest: str, now: int) -> str | None:
    """Return the address that a link signs in; None: the link is not good."""
    query = select(links.c.email, links.c.digest)
    found = connection.execute(query.where(links.c.digest == digest, links.c.expires > now)).first()
    if found is None or not hmac.compare_digest(found.digest, digest):
        return None
    return str(found.email)


def use_link(connection: Connection, digest: str, session: str, now: int) -> str | None:
    """Begin a session with a link, which is then used up; returns whose; None: it is not good.

    :param session: the digest of the session's secret.
    """
    email = link_of(connection, digest, now)
    if email is None:
        return None
    connection.execute(delete(links).where(links.c.digest == digest))
    _forget_old(connection, sessions, now)
    connection.execute(
        insert(sessions).values(
            digest=session, email=email, created=now, expires=now + SESSION_SECONDS
        )
    )
    _keep_latest(connection, sessions, email, MAX_SESSIONS)
    return email


def in_session(connection: Connection, digest: str, now: int) -> Viewer | None:
    """Return who is signed in with this session; None: nobody any more."""
    found = connection.execute(
        select(sessions.c.email, sessions.c.digest).where(
            sessions.c.digest == digest, sessions.c.expires > now
        )
    ).first()
    if found is None or not hmac.compare_digest(found.digest, digest):
        return None
    email = str(found.email)
    return Viewer(
        email=email,
        admin=is_admin(connection, email),
        write=True,
        session=True,
        name=email,
        time_zone=time_zone(connection, email),
    )


def time_zone(connection: Connection, email: str) -> str:
    """Return the time zone that an account has chosen; "": none."""
    for table in (owners, admins):
        query = select(table.c.time_zone).where(table.c.email == email)
        if found := connection.execute(query).scalar():
            return str(found)
    return ""


def keep_time_zone(connection: Connection, email: str, name: str) -> None:
    """Keep the time zone that an account has chosen."""
    for table in (owners, admins):
        connection.execute(update(table).where(table.c.email == email).values(time_zone=name))


def end_session(connection: Connection, digest: str) -> str | None:
    """End a session; returns whose it was."""
    email = connection.execute(select(sessions.c.email).where(sessions.c.digest == digest)).scalar()
    connection.execute(delete(sessions).where(sessions.c.digest == digest))
    return email


def end_sessions(connection: Connection, email: str) -> None:
    """End all sessions of an address, and its links."""
    for table in (sessions, links):
        connection.execute(delete(table).where(table.c.email == email))


def _forget_old(connection: Connection, table: Table, now: int) -> None:
    old = select(table.c.digest).where(table.c.expires <= now).limit(FORGOTTEN_AT_ONCE)
    gone = connection.execute(old).scalars().all()
    connection.execute(delete(table).where(table.c.digest.in_(gone)))


def _keep_latest(connection: Connection, table: Table, email: str, number: int) -> None:
    query = select(table.c.digest).where(table.c.email == email).order_by(table.c.expires.desc())
    gone = connection.execute(query.offset(number).limit(FORGOTTEN_AT_ONCE)).scalars().all()
    connection.execute(delete(table).where(table.c.digest.in_(gone)))


# --- admins ---------------------------------------------------------------------------------------


def is_admin(connection: Connection, email: str) -> bool:
    """Return whether the account of this address may do everything."""
    return (
        connection.execute(select(admins.c.email).where(admins.c.email == email)).first()
        is not None
    )


def add_admin(connection: Connection, email: str) -> bool:
    """Let an address be an admin's; False: it is already."""
    if is_admin(connection, email):
        return False
    connection.execute(insert(admins).values(email=email))
    return True


def remove_admin(connection: Connection, email: str) -> bool:
    """Let an address be an admin's no more, and sign it out; False: it was none."""
    if not is_admin(connection, email):
        return False
    connection.execute(delete(admins).where(admins.c.email == email))
    end_sessions(connection, email)
    return True


def all_admins(connection: Connection) -> list[str]:
    """Return the addresses of admins."""
    return list(connection.execute(select(admins.c.email).order_by(admins.c.email)).scalars())


# --- tokens ---------------------------------------------------------------------------------------


def identify(connection: Connection, digest: str) -> tuple[Viewer, int, int] | None:
    """Return who shows the token with this digest, the token's number and when it was used last;
    None: it is nobody's."""
    row = connection.execute(select(tokens).where(tokens.c.digest == digest)).first()
    # The database has compared hashes, so how long that took tells nothing about the token; what
    # it grants is decided in constant time.
    if row is None or not hmac.compare_digest(row.digest, digest):
        return None
    write = row.scope == Scope.WRITE.value
    match row.kind:
        case "admin":
            viewer = Viewer(admin=True, write=write, name=f"admin token {row.id}")
        case "owner":
            viewer = Viewer(site_id=row.site_id, write=write, name=f"owner token {row.id}")
        case _:
            viewer = Viewer(
                email=row.email,
                site_id=row.site_id,
                write=write,
                name=f"{row.email}, token {row.id}",
            )
    return viewer, row.id, row.used


def keep_used(connection: Connection, number: int, now: int) -> None:
    """Keep that a token was used."""
    connection.execute(
        update(tokens)
        .where(tokens.c.id == number, tokens.c.used <= now - USED_SECONDS)
        .values(used=now)
    )


def add_token(
    connection: Connection,
    email: str,
    site_id: int | None,
    token: Token,
    digest: str,
) -> Token:
    """Add a token of an account; returns it with its number.

    :raises InvalidFields: he has as many as anybody may have.
    """
    his = select(func.count()).select_from(tokens).where(tokens.c.email == email)
    if connection.execute(his).scalar_one() >= MAX_TOKENS:
        problem = Problem(
            "too-many-tokens", "Revoke one first: {most} is the most.", most=MAX_TOKENS
        )
        raise InvalidFields({"label": problem})
    made = connection.execute(
        insert(tokens).values(
            kind="account",
            site_id=site_id,
            digest=digest,
            created=token.created,
            email=email,
            scope=token.scope.value,
            label=token.label,
        )
    )
    key = made.inserted_primary_key
    assert key is not None  # what an INSERT of one row always has
    return replace(token, number=int(key[0]))


def tokens_of(connection: Connection, email: str, limit: int) -> list[Token]:
    """Return the tokens that an account has made, and those of its sites' registrations."""
    rows = connection.execute(
        select(
            tokens.c.id,
            tokens.c.kind,
            tokens.c.label,
            tokens.c.scope,
            tokens.c.created,
            tokens.c.used,
            sites.c.name,
        )
        .join_from(tokens, sites, tokens.c.site_id == sites.c.id, isouter=True)
        .join(owners, sites.c.owner_id == owners.c.id, isouter=True)
        .where(_his(email))
        .order_by(tokens.c.id.desc())
        .limit(limit)
    )
    return [
        Token(
            row.id,
            row.label,
            Scope(row.scope),
            row.name or "",
            row.kind == "account",
            row.created,
            row.used,
        )
        for row in rows
    ]


def revoke_token(connection: Connection, email: str, number: int) -> tuple[str, str] | None:
    """Forget a token of an account or of one of its sites; returns its label and its site's name;
    None: he has no such token."""
    row = connection.execute(
        select(tokens.c.id, tokens.c.label, sites.c.name)
        .join_from(tokens, sites, tokens.c.site_id == sites.c.id, isouter=True)
        .join(owners, sites.c.owner_id == owners.c.id, isouter=True)
        .where(tokens.c.id == number, _his(email))
    ).first()
    if row is None:
        return None
    connection.execute(delete(tokens).where(tokens.c.id == number))
    return row.label, row.name or ""


def _his(email: str) -> ColumnElement[bool]:
    """Return the condition that a token is one of an account, or of one of its sites."""
    return or_(
        and_(tokens.c.kind == "account", tokens.c.email == email),
        and_(tokens.c.kind == "owner", owners.c.email == email),
    )


def forget_account(connection: Connection, email: str) -> None:
    """Forget what an address without a site could sign in with."""
    connection.execute(delete(tokens).where(tokens.c.kind == "account", tokens.c.email == email))
    unwanted.forget_address(connection, email)
    if not is_admin(connection, email):
        end_sessions(connection, email)
