"""Certificates in the registry's database: shared between hosts, and sealed.

Each function of a connection is a whole transaction's work, as in
:mod:`watchducks.registry.statements`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Row, Table, delete, func, insert, select, update

from watchducks.model.accounts import APPLIANCE, Act, Actor
from watchducks.model.certificates import ACCOUNT_KEYS, KeptPair, Wish
from watchducks.model.challenges import MAX_CHALLENGES, Challenge
from watchducks.model.seals import SealError
from watchducks.registry import audit
from watchducks.registry.finding import by_name
from watchducks.registry.registry import Registry
from watchducks.registry.schema import acme, certificates, challenges, leases, sites, wishes
from watchducks.registry.schema import audit as trail
from watchducks.registry.sealing import Sealer
from watchducks.registry.statements import lock
from watchducks.stores.interfaces import StoreUnavailable

T = TypeVar("T")

# No authority looks at a challenge for longer. Older ones are of a keeper that was killed.
CHALLENGE_LIFE_SECONDS: Final = 3600
# Read and opened at once: 3 kB each.
PAGE_CERTIFICATES: Final = 100
# For so long followers can learn that a certificate was dropped. Hosts that were away for longer
# find out when they start.
DROPPED_LIFE_SECONDS: Final = 30 * 86_400
# Of what was dropped so long ago, forgotten at once.
PAGE_DROPPED: Final = 1000
# Heard at once; the others have their turn some seconds later.
PAGE_WISHES: Final = 100


class Vault:
    """Certificates with their keys, the keeper's secrets, challenges and leases.

    Every method may raise StoreUnavailable, also where the key file is missing or another one.

    :param now: gives POSIX seconds.
    """

    def __init__(self, registry: Registry, sealer: Sealer, *, now: Callable[[], float]) -> None:
        self._registry = registry
        self._sealer = sealer
        self._now = now

    # --- challenges -----------------------------------------------------------------------------

    async def challenges(self) -> list[Challenge]:
        """Return everything that has to be answered, at most :data:`MAX_CHALLENGES`."""
        since = int(self._now()) - CHALLENGE_LIFE_SECONDS
        return await self._registry.read(lambda connection: _challenges(connection, since))

    async def post_challenge(self, challenge: Challenge) -> None:
        """Have it answered; forgets what is too old."""
        now = int(self._now())
        await self._registry.write(lambda connection: _post(connection, challenge, now))

    async def remove_challenge(self, challenge: Challenge) -> None:
        """Have it answered no more."""
        await self._registry.write(lambda connection: _take_down(connection, challenge))

    # --- certificates ---------------------------------------------------------------------------

    async def keep_certificate(self, pair: KeptPair, *, before: str = "") -> None:
        """Keep a certificate with its key in place of the one before.

        :param before: what that one is called from now on, if it is to stay.
        """

        def keep(connection: Connection) -> None:
            if before:
                self._rename(connection, pair.bundle, before)
            context = _context(certificates, pair.bundle)
            sealed = None if pair.pem is None else self._sealer.seal(pair.pem, context)
            _keep_certificate(connection, pair, sealed, int(self._now()))
            _tell(connection, pair, int(self._now()))

        await self._registry.write(keep)

    def _rename(self, connection: Connection, bundle: str, name: str) -> None:
        lock(connection)
        query = select(certificates).where(certificates.c.name == bundle)
        row = connection.execute(query).first()
        if row is None or row.sealed is None:
            return
        pem = self._open(row.sealed, _context(certificates, bundle))
        sealed = self._sealer.seal(pem, _context(certificates, name))
        kept = KeptPair(name, pem, row.authority)
        _keep_certificate(connection, kept, sealed, int(self._now()))

    async def certificates_since(self, revision: int) -> tuple[int, list[KeptPair]]:
        """Return the next changes after ``revision``, a page of them, and how far they go.

        Where nothing has changed the revision is the one that was given.
        """

        def since(connection: Connection) -> tuple[int, list[KeptPair]]:
            rows = _since(connection, revision)
            found = []
            for row in rows:
                context = _context(certificates, row.name)
                pem = None if row.sealed is None else self._open(row.sealed, context)
                found.append(KeptPair(row.name, pem, row.authority))
            return (rows[-1].revision if rows else revision), found

        return await self._read(since)

    async def forget_dropped(self) -> None:
        """Forget certificates that were dropped long ago, at most :data:`PAGE_DROPPED` of them."""
        before = int(self._now()) - DROPPED_LIFE_SECONDS
        await self._registry.write(lambda connection: _forget_dropped(connection, before))

    # --- secrets of the keeper ------------------------------------------------------------------

    async def secret(self, name: str) -> bytes | None:
        """Return what was kept under ``name``; None: nothing."""

        def find(connection: Connection) -> bytes | None:
            sealed = connection.execute(select(acme.c.sealed).where(acme.c.name == name)).scalar()
            return None if sealed is None else self._open(sealed, _context(acme, name))

        return await self._read(find)

    async def secrets(self, prefix: str) -> dict[str, bytes]:
        """Return everything that was kept under a name that begins with ``prefix``."""

        def find(connection: Connection) -> dict[str, bytes]:
            query = select(acme).where(acme.c.name.startswith(prefix, autoescape=True))
            return {
                row.name: self._open(row.sealed, _context(acme, row.name))
                for row in connection.execute(query)
            }

        return await self._read(find)

    async def keep_secret(self, name: str, secret: bytes | None) -> None:
        """Keep ``secret`` in place of what was there; None: keep nothing."""

        def keep(connection: Connection) -> None:
            lock(connection)
            if secret is None:
                connection.execute(delete(acme).where(acme.c.name == name))
            else:
                sealed = self._sealer.seal(secret, _context(acme, name))
                _put(connection, acme, name, {"sealed": sealed})

        await self._registry.write(keep)

    async def replace_account_key(self, name: str, announced: str, pem: bytes) -> None:
        """Keep an account's key, which was kept as ``announced`` before, under ``name``."""

        def replace(connection: Connection) -> None:
            lock(connection)
            sealed = self._sealer.seal(pem, _context(acme, name))
            _put(connection, acme, name, {"sealed": sealed})
            connection.execute(delete(acme).where(acme.c.name == announced))
            details = {"account": name, "step": "changed"}
            audit.keep(connection, APPLIANCE, Act.ACCOUNT_KEY, int(self._now()), details=details)

        await self._registry.write(replace)

    async def wish_account_keys(self, *, by: Actor, every_seconds: int = 0) -> bool:
        """Ask the keeper for other keys of our accounts; asked already, it is one wish.

        :param every_seconds: how long ago anybody must have asked last.
        :returns: False: it was sooner.
        """
        now = int(self._now())

        def ask(connection: Connection) -> bool:
            lock(connection)
            recent = select(trail.c.id).where(
                trail.c.at > now - every_seconds, trail.c.act == Act.ACCOUNT_KEY.value
            )
            if every_seconds and connection.execute(recent.limit(1)).first() is not None:
                return False
            zone = ACCOUNT_KEYS.zone
            connection.execute(delete(wishes).where(wishes.c.zone == zone))
            connection.execute(insert(wishes).values(zone=zone))
            audit.keep(connection, by, Act.ACCOUNT_KEY, now, details={"step": "wanted"})
            return True

        return await self._registry.write(ask)

    async def wishes(self) -> list[Wish]:
        """Return the next :data:`PAGE_WISHES` of what the keeper is asked for."""
        query = select(wishes.c.zone).order_by(wishes.c.zone).limit(PAGE_WISHES)
        return await self._registry.read(
            lambda connection: [Wish(zone) for zone in connection.execute(query).scalars()]
        )

    async def fulfilled(self, wish: Wish) -> None:
        """Forget a wish."""

        def forget(connection: Connection) -> None:
            lock(connection)
            connection.execute(delete(wishes).where(wishes.c.zone == wish.zone))

        await self._registry.write(forget)

    async def lease(self, name: str, holder: str, seconds: int) -> bool:
        """Take a lease, or prolong one's own; False: somebody else has it."""
        now = int(self._now())
        return await self._registry.write(
            lambda connection: _lease(connection, name, holder, now, seconds)
        )

    async def release(self, name: str, holder: str) -> None:
        """Give a lease back, if it is one's own."""

        def give_back(connection: Connection) -> None:
            lock(connection)
            own = (leases.c.name == name) & (leases.c.holder == holder)
            connection.execute(delete(leases).where(own))

        await self._registry.write(give_back)

    async def _read(self, function: Callable[[Connection], T]) -> T:
        try:
            return await self._registry.read(function)
        except SealError as error:
            raise StoreUnavailable(str(error)) from error

    def _open(self, sealed: bytes, context: bytes) -> bytes:
        if not self._sealer.loaded:
            self._sealer.load()  # in the store's thread
        return self._sealer.unseal(sealed, context)


def _context(table: Table, name: str) -> bytes:
    return f"{table.name} {name}".encode()


def _challenges(connection: Connection, since: int) -> list[Challenge]:
    query = select(challenges).where(challenges.c.created >= since).limit(MAX_CHALLENGES)
    return [
        Challenge(row.kind, row.name, row.token, row.value) for row in connection.execute(query)
    ]


def _post(connection: Connection, challenge: Challenge, now: int) -> None:
    lock(connection)
    old = now - CHALLENGE_LIFE_SECONDS
    connection.execute(delete(challenges).where(challenges.c.created < old))
    _delete(connection, challenge)
    if connection.execute(select(func.count()).select_from(challenges)).scalar_one() >= (
        MAX_CHALLENGES
    ):
        raise StoreUnavailable(f"more than {MAX_CHALLENGES} challenges are answered already")
    connection.execute(
        insert(challenges).values(
            name=challenge.name,
            token=challenge.token,
            kind=challenge.kind,
            value=challenge.value,
            created=now,
        )
    )


def _take_down(connection: Connection, challenge: Challenge) -> None:
    lock(connection)
    _delete(connection, challenge)


def _delete(connection: Connection, challenge: Challenge) -> None:
    connection.execute(
        delete(challenges).where(
            challenges.c.name == challenge.name, challenges.c.token == challenge.token
        )
    )


def _keep_certificate(
    connection: Connection, pair: KeptPair, sealed: bytes | None, now: int
) -> None:
    lock(connection)
    last = connection.execute(select(func.max(certificates.c.revision))).scalar() or 0
    values = {
        "revision": last + 1,
        "sealed": sealed,
        "authority": pair.authority,
        "dropped": now if sealed is None else None,
    }
    _put(connection, certificates, pair.bundle, values)


def _forget_dropped(connection: Connection, before: int) -> None:
    lock(connection)
    last = connection.execute(select(func.max(certificates.c.revision))).scalar() or 0
    # The last of all stays: from it the next revision is counted.
    old = (certificates.c.dropped < before) & (certificates.c.revision < last)
    query = select(certificates.c.name).where(old).limit(PAGE_DROPPED)
    names = connection.execute(query).scalars().all()
    connection.execute(delete(certificates).where(certificates.c.name.in_(names)))


def _tell(connection: Connection, pair: KeptPair, now: int) -> None:
    """Write down another certificate: of the site whose zone it is called by, if it is one's."""
    key = connection.execute(select(sites.c.name_key).where(sites.c.zone == pair.bundle)).scalar()
    details = {"bundle": pair.bundle, "authority": pair.authority}
    if pair.pem is None:
        details["removed"] = "yes"
    site = None if key is None else by_name(connection, key)
    audit.keep(connection, APPLIANCE, Act.CERTIFICATE, now, site=site, details=details)


def _since(connection: Connection, revision: int) -> Sequence[Row[Any]]:
    query = (
        select(certificates)
        .where(certificates.c.revision > revision)
        .order_by(certificates.c.revision)
        .limit(PAGE_CERTIFICATES)
    )
    return connection.execute(query).all()


def _lease(connection: Connection, name: str, holder: str, now: int, seconds: int) -> bool:
    lock(connection)
    row = connection.execute(select(leases).where(leases.c.name == name)).first()
    if row is not None and row.holder != holder and row.until > now:
        return False
    _put(connection, leases, name, {"holder": holder, "until": now + seconds})
    return True


def _put(connection: Connection, table: Table, name: str, values: dict[str, object]) -> None:
    """Replace the row called ``name``, or make it."""
    there = connection.execute(select(table.c.name).where(table.c.name == name)).first()
    if there is None:
        connection.execute(insert(table).values(name=name, **values))
    else:
        connection.execute(update(table).where(table.c.name == name).values(values))
