"""Accounts as the console and the command use them: links, sessions, tokens, admins.

Secrets are made here, and only their digests are kept; a link's lies in its letter, sealed.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final, TypeVar

from sqlalchemy import Connection
from twisted.internet.interfaces import IReactorTime

from watchducks.model.accounts import (
    APPLIANCE,
    LINK_SECONDS,
    MAX_TOKENS,
    Act,
    Actor,
    Scope,
    Token,
    Viewer,
)
from watchducks.model.letters import SEAL_CONTEXT, SEALED, Letter, LetterKind
from watchducks.model.names import name_key
from watchducks.model.sites import Site
from watchducks.registry import accounts, audit, finding, letters, statements
from watchducks.registry.registry import Registry, digest_of, new_token

T = TypeVar("T")

SECRET_BYTES: Final = 32
# Sites of one owner on his page, and tokens: his own, and one of each site's registration.
MAX_SITES_SHOWN: Final = 500
MAX_TOKENS_SHOWN: Final = MAX_TOKENS + MAX_SITES_SHOWN


class AccountBook:
    """Who may sign in, and who is. Every method may raise StoreUnavailable.

    :param seal: closes a link's secret in its letter; blocks, and is called in a thread.
    :param posted: called after each letter that was posted.
    :param admins: addresses that are admins' whatever the registry says (``security.admins``).
    :ivar named: these.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        seal: Callable[[bytes, bytes], bytes],
        clock: IReactorTime,
        posted: Callable[[], None] = lambda: None,
        admins: Collection[str] = (),
    ) -> None:
        self._registry = registry
        self._seal = seal
        self._clock = clock
        self._posted = posted
        self.named = frozenset(admins)

    # --- signing in -----------------------------------------------------------------------------

    async def ask_link(self, typed: str, language: str) -> None:
        """Send a link to the account that an address means, if there is one. Who asks is not told:
        he would learn who has an account."""
        now = int(self._clock.seconds())

        def write(connection: Connection) -> None:
            for email in self._meant(connection, typed):
                secret = _new_secret()
                sealed = self._seal(secret.encode(), SEAL_CONTEXT + email.encode())
                letter = Letter(
                    LetterKind.SIGN_IN,
                    email,
                    facts={SEALED: base64.b64encode(sealed).decode()},
                    language=language,
                    expires=now + LINK_SECONDS,
                )
                if letters.post(connection, letter, now):
                    accounts.add_link(connection, email, digest_of(secret), now)

        await self._write(write)
        self._posted()

    async def make_link(self, email: str, *, by: Actor) -> str | None:
        """Return the secret of a link that signs an admin in, for whoever has this registry at his
        command; None: the address is no admin's."""
        secret, now = _new_secret(), int(self._clock.seconds())

        def write(connection: Connection) -> bool:
            if email not in self.named and not accounts.is_admin(connection, email):
                return False
            accounts.add_link(connection, email, digest_of(secret), now)
            audit.keep(connection, by, Act.LINK_MADE, now, details={"email": email})
            return True

        return secret if await self._write(write) else None

    async def sign_in(self, secret: str, network: str) -> str | None:
        """Begin a session with a link's secret, once; returns the session's. None: the link is used
        up, too old or nobody's."""
        session, now = _new_secret(), int(self._clock.seconds())

        def write(connection: Connection) -> bool:
            email = accounts.use_link(connection, digest_of(secret), digest_of(session), now)
            if email is None:
                return False
            audit.keep(connection, Actor(email, network), Act.SIGNED_IN, now)
            return True

        return session if await self._write(write) else None

    async def link_of(self, secret: str) -> str | None:
        """Return the address that a link's secret signs in; None: it does no more, or never did."""
        digest, now = digest_of(secret), int(self._clock.seconds())
        return await self._registry.read(
            lambda connection: accounts.link_of(connection, digest, now)
        )

    async def in_session(self, secret: str) -> Viewer | None:
        """Return who is signed in with a session's secret; None: nobody any more."""
        digest, now = digest_of(secret), int(self._clock.seconds())
        found = await self._registry.read(
            lambda connection: accounts.in_session(connection, digest, now)
        )
        if found is not None and found.email in self.named:
            return replace(found, admin=True)
        return found

    async def sign_out(self, secret: str, network: str, *, everywhere: bool = False) -> None:
        """End a session, or all of its account."""
        now = int(self._clock.seconds())

        def write(connection: Connection) -> None:
            email = accounts.end_session(connection, digest_of(secret))
            if email is None:
                return
            if everywhere:
                accounts.end_sessions(connection, email)
            audit.keep(connection, Actor(email, network), Act.SIGNED_OUT, now)

        await self._write(write)

    async def keep_time_zone(self, email: str, name: str) -> None:
        """Keep in which time zone an account sees figures. :param name: of IANA's; "": none."""
        await self._write(lambda connection: accounts.keep_time_zone(connection, email, name))

    async def sites_of(self, email: str) -> list[Site]:
        """Return an owner's sites by name."""
        return await self._registry.read(
            lambda connection: finding.of_owner(connection, email, MAX_SITES_SHOWN)
        )

    # --- tokens ---------------------------------------------------------------------------------

    async def identify(self, token: str) -> Viewer | None:
        """Return who shows ``token``; None: it is nobody's."""
        return await self._registry.identify(token)

    async def make_token(
        self, email: str, label: str, scope: Scope, site: Site | None, *, by: Actor
    ) -> tuple[Token, str]:
        """Make a token of an account, for one of its sites or for all; returns it with its text,
        which is shown once and kept nowhere.

        :raises InvalidFields: he has as many as anybody may have.
        """
        text, now = new_token(), int(self._clock.seconds())
        wanted = Token(0, label, scope, "" if site is None else site.name, True, now, 0)

        def write(connection: Connection) -> Token:
            site_id = None if site is None else site.id
            made = accounts.add_token(connection, email, site_id, wanted, digest_of(text))
            details = {"label": label, "scope": scope.value, "number": str(made.number)}
            audit.keep(connection, by, Act.TOKEN_MADE, now, site=site, details=details)
            return made

        return await self._write(write), text

    async def tokens_of(self, email: str) -> list[Token]:
        """Return the tokens of an account and of its sites, the latest first."""
        return await self._registry.read(
            lambda connection: accounts.tokens_of(connection, email, MAX_TOKENS_SHOWN)
        )

    async def revoke_token(self, email: str, number: int, *, by: Actor) -> bool:
        """Forget a token of an account or of one of its sites; False: it has no such token."""
        now = int(self._clock.seconds())

        def write(connection: Connection) -> bool:
            found = accounts.revoke_token(connection, email, number)
            if found is None:
                return False
            label, site = found
            details = {"label": label, "number": str(number)}
            about = None if not site else finding.by_name(connection, name_key(site))
            audit.keep(connection, by, Act.TOKEN_REVOKED, now, site=about, details=details)
            return True

        return await self._write(write)

    # --- admins ---------------------------------------------------------------------------------

    async def add_admin(self, email: str, *, by: Actor = APPLIANCE) -> bool:
        """Let the account of an address do everything; False: it may already."""
        return await self._admin(accounts.add_admin, email, Act.ADMIN_ADDED, by)

    async def remove_admin(self, email: str, *, by: Actor = APPLIANCE) -> bool:
        """Let it do so no more, and sign it out; False: it was no admin's."""
        return await self._admin(accounts.remove_admin, email, Act.ADMIN_REMOVED, by)

    async def admins(self) -> list[str]:
        """Return the addresses of admins, those that the settings name included."""
        return sorted(self.named.union(await self._registry.read(accounts.all_admins)))

    async def _admin(
        self, work: Callable[[Connection, str], bool], email: str, act: Act, by: Actor
    ) -> bool:
        now = int(self._clock.seconds())

        def write(connection: Connection) -> bool:
            changed = work(connection, email)
            if changed:
                audit.keep(connection, by, act, now, details={"email": email})
            return changed

        return await self._write(write)

    # --------------------------------------------------------------------------------------------

    def _meant(self, connection: Connection, typed: str) -> list[str]:
        """Return the addresses of accounts that ``typed`` may mean."""
        named = {email for email in self.named if email.lower() == typed.lower()}
        return sorted(named.union(accounts.addresses(connection, typed)))

    async def _write(self, work: Callable[[Connection], T]) -> T:
        def write(connection: Connection) -> T:
            statements.lock(connection)
            return work(connection)

        return await self._registry.write(write)


def _new_secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)
