"""A courier as a process, to be killed. Arguments: registry's and mail's URL, CA file."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from tests.contracts.stores_under_test import open_registry
from tests.unit.mail.letters import SENDER
from watchducks.mail.assembly import open_transport
from watchducks.mail.composing import Composer
from watchducks.mail.courier import Courier
from watchducks.model.letters import Letter
from watchducks.registry.mailbag import Mailbag
from watchducks.settings import parse


async def nothing_sealed(sealed: bytes, context: bytes) -> bytes:
    return sealed


async def link(letter: Letter) -> str:
    """Return the same link in each letter."""
    return f"{SENDER.url}/letters/{letter.kind.value}"


async def run(reactor: Any, registry_url: str, mail_url: str, ca_file: str) -> None:
    settings: Any = parse(
        {
            "node": {"roles": ["proxy"]},
            "mail": {"url": mail_url, "ca_file": ca_file, "sender": SENDER.address},
        }
    )
    async with open_registry(registry_url, reactor) as registry:
        transport = open_transport(settings, threads=reactor, reactor=reactor)
        bag = Mailbag(registry, clock=reactor)
        courier = Courier(
            bag, Composer(SENDER), transport, opens=nothing_sealed, unsubscribes=link, clock=reactor
        )
        await courier.start()
        print("ready", flush=True)
        await Deferred()


react(lambda reactor: Deferred.fromCoroutine(run(reactor, *sys.argv[1:])))
