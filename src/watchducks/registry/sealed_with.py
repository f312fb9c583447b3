"""Which key a registry's secrets are sealed with: written there with the first of them.

So a host with another key, or without any, says so before it seals anything, and makes no key of
its own. Each function is run in a transaction, in the store's threads.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from watchducks.model.seals import SealError
from watchducks.registry.schema import registry
from watchducks.registry.sealing import Sealer
from watchducks.registry.statements import lock


def learn(connection: Connection, sealer: Sealer) -> str:
    """Tell ``sealer`` which key it has to be, if there is one yet; return what is wrong, or "".

    A missing file is nothing wrong here: a host without secrets needs none, and who does says so.
    """
    key_id = connection.execute(select(registry.c.key_id)).scalar_one()
    if key_id is None:
        return ""
    sealer.expect(bytes(key_id))
    try:
        sealer.load()
    except SealError as error:
        return str(error) if sealer.there() else ""
    return ""


def settle(connection: Connection, sealer: Sealer) -> None:
    """Let the registry have the key that ``sealer`` has by now, if it has one.

    :raises SealError: another host was first, with another key; what was sealed is of no use.
    """
    if sealer.key_id is None:
        return
    lock(connection)
    # As it is now, whatever this transaction saw before.
    key_id = connection.execute(select(registry.c.key_id).with_for_update()).scalar_one()
    if key_id is None:
        connection.execute(update(registry).values(key_id=sealer.key_id))
        return
    sealer.expect(bytes(key_id))
    sealer.load()
