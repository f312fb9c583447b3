"""Mail as parts: the mailbag that everybody posts to, and the courier that empties it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from watchducks.appliance.house import House, Reactor
from watchducks.appliance.measures import of_the_courier
from watchducks.appliance.sites import open_registry
from watchducks.background import Threads
from watchducks.mail.assembly import open_transport
from watchducks.mail.composing import Composer, Sender
from watchducks.mail.courier import Courier, Opens
from watchducks.mail.unsubscribing import SealWork, Unsubscribing
from watchducks.model.seals import SealError
from watchducks.registry.accountbook import AccountBook
from watchducks.registry.blocklist import Blocklist
from watchducks.registry.mailbag import Mailbag
from watchducks.registry.registry import Registry
from watchducks.registry.sealing import Sealer
from watchducks.settings import Settings
from watchducks.stores.interfaces import StoreUnavailable


async def start_the_mail(house: House, registry: Registry) -> tuple[Mailbag, Unsubscribing]:
    """Start what sends letters; returns where they are posted, and what reads their links.

    :raises StartupError: a file that ``mail`` names cannot be read.
    """
    settings = house.settings
    threads = await house.pool("mail")
    sender = Sender(
        settings.mail.sender, settings.console.url.rstrip("/"), settings.nameserver.names
    )
    mailbag = Mailbag(registry, clock=house.reactor)
    opens = _opener(house.sealer, threads)
    unsubscribing = Unsubscribing(
        sender.url, seal=_closer(house.sealer, registry, threads), unseal=opens
    )
    courier = Courier(
        mailbag,
        Composer(sender),
        open_transport(settings, threads=threads, reactor=house.reactor),
        opens=opens,
        unsubscribes=unsubscribing.link,
        clock=house.reactor,
    )
    mailbag.on_post(courier.nudge)
    # A registration posts its letter with the site, in one transaction.
    registry.on_write(lambda _: courier.nudge())
    await house.run("the courier", courier)
    house.measure(lambda: of_the_courier(courier))
    return mailbag, unsubscribing


def _opener(sealer: Sealer, threads: Threads) -> Opens:
    async def unsealed(sealed: bytes, context: bytes) -> bytes:
        if not sealer.loaded:
            await threads.run(sealer.load)
        return sealer.unseal(sealed, context)

    return unsealed


def _closer(sealer: Sealer, registry: Registry, threads: Threads) -> SealWork:
    async def sealed(secret: bytes, context: bytes) -> bytes:
        if sealer.expects:
            return await threads.run(sealer.seal, secret, context)
        try:
            # The first that is sealed for a registry tells it with which key.
            return await registry.write(lambda _: sealer.seal(secret, context))
        except StoreUnavailable as error:
            raise SealError(str(error)) from error

    return sealed


@asynccontextmanager
async def open_mailbag(settings: Settings, reactor: Reactor) -> AsyncIterator[Mailbag]:
    """Give the letters, for a command. :raises StartupError: the registry cannot be opened."""
    async with open_registry(settings, reactor) as registry:
        yield Mailbag(registry, clock=reactor)


@asynccontextmanager
async def open_blocklist(settings: Settings, reactor: Reactor) -> AsyncIterator[Blocklist]:
    """Give the blocklist, for a command. :raises StartupError: the registry cannot be opened."""
    async with open_registry(settings, reactor) as registry:
        yield Blocklist(registry, clock=reactor)


@asynccontextmanager
async def open_accounts(settings: Settings, reactor: Reactor) -> AsyncIterator[AccountBook]:
    """Give the accounts, for a command. :raises StartupError: the registry cannot be opened."""
    sealer = Sealer(settings.key_file)
    async with open_registry(settings, reactor, sealer) as registry:
        yield AccountBook(
            registry,
            seal=sealer.seal,
            clock=reactor,
            admins=settings.security.admins,
        )
