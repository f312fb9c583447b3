"""The SQL of letters: functions of a connection, as in :mod:`watchducks.registry.statements`."""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, delete, func, insert, or_, select, update

from watchducks.model.letters import (
    DAY_SECONDS,
    KEPT_SECONDS,
    LEASE_SECONDS,
    MAX_REASON_CHARACTERS,
    RECIPIENT_LETTERS_A_DAY,
    SITE_LETTERS_A_DAY,
    Letter,
    LetterKind,
    LetterState,
    PostedLetter,
    next_try,
)
from watchducks.registry.schema import letters, owners
from watchducks.registry.unwanted import is_unwanted

# Forgotten at a time, each time something is sent: bounded work that keeps up with any queue.
FORGOTTEN_AT_ONCE: Final = 50
_WAITING: Final = LetterState.WAITING.value


def post(connection: Connection, letter: Letter, now: int) -> bool:
    """Add a letter; False: its recipient wants none of its kind, its topic is known, or there were
    too many today. Writes.

    Its language, if it has none, is what its recipient is known to read.
    """
    if letter.topic and _any(
        connection, select(letters.c.id).where(letters.c.topic == letter.topic)
    ):
        return False
    if is_unwanted(connection, letter):
        return False
    today = select(func.count()).select_from(letters).where(letters.c.posted > now - DAY_SECONDS)
    of_kind = today.where(
        letters.c.recipient == letter.recipient, letters.c.kind == letter.kind.value
    )
    if connection.execute(of_kind).scalar_one() >= RECIPIENT_LETTERS_A_DAY:
        return False
    if letter.site_id is not None:
        of_site = today.where(letters.c.site_id == letter.site_id)
        if connection.execute(of_site).scalar_one() >= SITE_LETTERS_A_DAY:
            return False
    language = letter.language or _language(connection, letter.recipient)
    connection.execute(
        insert(letters).values(
            kind=letter.kind.value,
            recipient=letter.recipient,
            site_id=letter.site_id,
            language=language,
            # NULL, of which there may be many.
            topic=letter.topic or None,
            facts=json.dumps(dict(letter.facts), ensure_ascii=False).encode(),
            posted=now,
            expires=letter.expires,
            state=_WAITING,
            due=now,
            attempts=0,
            reason="",
        )
    )
    return True


def any_due(connection: Connection, now: int) -> bool:
    """Return whether a letter is to be sent. Reads only."""
    return _any(connection, _due(now))


def take_due(connection: Connection, now: int, limit: int) -> list[PostedLetter]:
    """Return letters to be sent now, and keep others from taking them for a while.

    Of each recipient's letters, but for sign-in links, only the oldest that waits: so he gets them
    in their order. Links, which nobody wants after some minutes, have a line of their own.
    """
    found = connection.execute(_due(now).limit(limit)).all()
    taken = [_read(row) for row in found]
    connection.execute(
        update(letters)
        .where(letters.c.id.in_([one.number for one in taken]))
        .values(due=now + LEASE_SECONDS)
    )
    return taken


def keep_sent(connection: Connection, number: int, now: int) -> None:
    """Keep that a letter was sent; its facts are not needed any more."""
    connection.execute(
        update(letters)
        .where(letters.c.id == number)
        .values(state=LetterState.SENT.value, due=now, facts=b"{}", reason="")
    )
    old = (
        select(letters.c.id)
        .where(letters.c.state != _WAITING, letters.c.due < now - KEPT_SECONDS)
        .limit(FORGOTTEN_AT_ONCE)
    )
    gone = connection.execute(old).scalars().all()
    connection.execute(delete(letters).where(letters.c.id.in_(gone)))


def keep_failed(
    connection: Connection, posted: PostedLetter, reason: str, now: int, *, final: bool
) -> LetterState:
    """Keep that a letter could not be sent; returns whether it waits or is given up.

    :param final: no other try will do better.
    """
    due = None if final else next_try(posted, now)
    state = LetterState.GIVEN_UP if due is None else LetterState.WAITING
    connection.execute(
        update(letters)
        .where(letters.c.id == posted.number, letters.c.state == _WAITING)
        .values(
            state=state.value,
            due=now if due is None else due,
            attempts=posted.attempts + 1,
            reason=reason[:MAX_REASON_CHARACTERS],
        )
    )
    return state


def counted(connection: Connection) -> dict[LetterState, int]:
    """Return how many letters there are in each state."""
    query = select(letters.c.state, func.count()).group_by(letters.c.state)
    found = {LetterState(state): count for state, count in connection.execute(query)}
    return {state: found.get(state, 0) for state in LetterState}


def latest(connection: Connection, state: LetterState, limit: int) -> list[PostedLetter]:
    """Return letters in one state, the latest first."""
    query = select(letters).where(letters.c.state == state.value).order_by(letters.c.id.desc())
    return [_read(row) for row in connection.execute(query.limit(limit))]


def _due(now: int) -> Select[Any]:
    earlier = letters.alias("earlier")
    link = LetterKind.SIGN_IN.value
    before = select(earlier.c.id).where(
        earlier.c.recipient == letters.c.recipient,
        earlier.c.state == _WAITING,
        earlier.c.id < letters.c.id,
        or_(
            and_(earlier.c.kind == link, letters.c.kind == link),
            and_(earlier.c.kind != link, letters.c.kind != link),
        ),
    )
    return (
        select(letters)
        .where(letters.c.state == _WAITING, letters.c.due <= now, ~before.exists())
        .order_by(letters.c.due, letters.c.id)
    )


def _language(connection: Connection, recipient: str) -> str:
    query = select(owners.c.language).where(owners.c.email == recipient)
    return connection.execute(query).scalar() or ""


def _any(connection: Connection, query: Select[Any]) -> bool:
    return connection.execute(query.limit(1)).first() is not None


def _read(row: Row[*tuple[Any, ...]]) -> PostedLetter:
    letter = Letter(
        LetterKind(row.kind),
        row.recipient,
        row.site_id,
        json.loads(row.facts),
        row.language,
        row.topic or "",
        row.expires,
    )
    return PostedLetter(
        row.id, letter, row.posted, row.due, LetterState(row.state), row.attempts, row.reason
    )
