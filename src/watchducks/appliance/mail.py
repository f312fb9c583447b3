"""Mail as parts: the mailbag that everybody posts to, and the courier that empties it."""

from __future__ import annotations

from watchducks.appliance.house import House
from watchducks.background import Threads
from watchducks.mail.assembly import open_transport
from watchducks.mail.composing import Composer, Sender
from watchducks.mail.courier import Courier, Opens
from watchducks.registry.mailbag import Mailbag
from watchducks.registry.registry import Registry
from watchducks.registry.sealing import Sealer


async def start_the_mail(house: House, registry: Registry) -> Mailbag:
    """Start what sends letters; returns where they are posted.

    :raises StartupError: a file that ``mail`` names cannot be read.
    """
    settings = house.settings
    threads = await house.pool("mail")
    sender = Sender(
        settings.mail.sender, settings.console.url.rstrip("/"), settings.nameserver.names
    )
    mailbag = Mailbag(registry, clock=house.reactor)
    courier = Courier(
        mailbag,
        Composer(sender),
        open_transport(settings, threads=threads, reactor=house.reactor),
        opens=_opener(house.sealer, threads),
        clock=house.reactor,
    )
    mailbag.on_post(courier.nudge)
    # A registration posts its letter with the site, in one transaction.
    registry.on_write(lambda _: courier.nudge())
    await house.run("the courier", courier)
    return mailbag


def _opener(sealer: Sealer, threads: Threads) -> Opens:
    async def unsealed(sealed: bytes, context: bytes) -> bytes:
        if not sealer.loaded:
            await threads.run(sealer.load)
        return sealer.unseal(sealed, context)

    return unsealed
