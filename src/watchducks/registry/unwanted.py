"""The SQL of what owners want no letters about, as in :mod:`watchducks.registry.statements`."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, delete, insert, select, update

from watchducks.model.letters import Letter, LetterState
from watchducks.model.subjects import (
    ALL_SITES,
    Subject,
    Subscription,
    kinds_of,
    subscription_of,
)
from watchducks.registry.schema import letters, unwanted


def is_unwanted(connection: Connection, letter: Letter) -> bool:
    """Return whether a letter's recipient wants none of its kind."""
    its = subscription_of(letter)
    return its is not None and (its.site_id, its.subject) in of_address(connection, its.email)


def of_address(connection: Connection, email: str) -> frozenset[tuple[int, Subject]]:
    """Return what an address wants no letters about: ids of sites, and subjects."""
    query = select(unwanted.c.site_id, unwanted.c.subject).where(unwanted.c.email == email)
    return frozenset((row.site_id, Subject(row.subject)) for row in connection.execute(query))


def stop(connection: Connection, one: Subscription, now: int) -> bool:
    """Keep that letters are not wanted, and give up those that wait; False: so it was already."""
    if (one.site_id, one.subject) in of_address(connection, one.email):
        return False
    connection.execute(
        insert(unwanted).values(email=one.email, site_id=one.site_id, subject=one.subject.value)
    )
    about = None if one.site_id == ALL_SITES else one.site_id
    connection.execute(
        update(letters)
        .where(
            letters.c.recipient == one.email,
            letters.c.state == LetterState.WAITING.value,
            letters.c.kind.in_([kind.value for kind in kinds_of(one.subject)]),
            letters.c.site_id == about,
        )
        .values(state=LetterState.GIVEN_UP.value, due=now, reason="not wanted any more")
    )
    return True


def choose(
    connection: Connection, email: str, site_id: int, not_wanted: Collection[Subject], now: int
) -> None:
    """Replace what an address wants no letters about, of one site."""
    for _, subject in filter(lambda one: one[0] == site_id, of_address(connection, email)):
        if subject not in not_wanted:
            connection.execute(
                delete(unwanted).where(
                    unwanted.c.email == email,
                    unwanted.c.site_id == site_id,
                    unwanted.c.subject == subject.value,
                )
            )
    for subject in not_wanted:
        stop(connection, Subscription(email, site_id, subject), now)


def forget_site(connection: Connection, site_id: int) -> None:
    """Forget what was not wanted about a site that leaves."""
    connection.execute(delete(unwanted).where(unwanted.c.site_id == site_id))


def forget_address(connection: Connection, email: str) -> None:
    """Forget what an address did not want."""
    connection.execute(delete(unwanted).where(unwanted.c.email == email))
