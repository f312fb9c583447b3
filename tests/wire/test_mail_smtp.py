"""Letters on their way to a real mail server: secured, in order, at least once, never for ever."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from tests.contracts.stores_under_test import open_registry, thread_pool, zone_keys
from tests.servers.mailserver import MailServer
from tests.servers.ports import free_port
from tests.servers.waiting import eventually, wait_until
from tests.unit.mail.letters import SENDER, SITE
from tests.wire.test_mail_courier import a_link, nothing_sealed
from watchducks.mail.composing import Composer
from watchducks.mail.courier import Courier
from watchducks.mail.smtp import Server, SmtpServer
from watchducks.model.letters import (
    LEASE_SECONDS,
    Letter,
    LetterKind,
    LetterState,
    Undeliverable,
    Unsent,
    site_letter,
)
from watchducks.registry.mailbag import Mailbag
from watchducks.registry.registry import Registry
from watchducks.stores.sql import SqlStore

REACTOR: Any = reactor
ROOT = Path(__file__).parents[2]
LONG = b"Subject: dots\r\n\r\n" + b".\r\n..\r\n" * 40_000 + b"end\r\n"
SECONDS = 20.0


@pytest.fixture(scope="module", params=["starttls", "tls"])
def secured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MailServer]:
    """A server that takes mail from users only, secured."""
    yield from running(MailServer(tmp_path_factory.mktemp("mail"), request.param))


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[MailServer]:
    """A server on this machine that secures nothing."""
    yield from running(MailServer(tmp_path, "plain"))


def running(server: MailServer) -> Iterator[MailServer]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def connection(server: MailServer, url: str = "", ca_file: Path | None = None) -> SmtpServer:
    return SmtpServer(
        Server.of(url or server.url()),
        reactor=reactor,
        hello="ducks.example",
        ca_file=ca_file or server.ca_file,
    )


async def send(to: SmtpServer, recipient: str = "owner@mail.example", text: bytes = LONG) -> None:
    await to.send("us@ducks.example", recipient, text)


@pytest_twisted.ensureDeferred
async def test_a_message_arrives_whole(secured: MailServer) -> None:
    before = len(secured.messages())
    await send(connection(secured))
    assert len(secured.messages()) == before + 1
    assert (secured.received / f"{before + 1}.eml").read_bytes().endswith(b".\r\n..\r\nend\r\n")


@pytest_twisted.ensureDeferred
async def test_nothing_is_said_to_a_server_that_cannot_prove_its_name(
    secured: MailServer,
) -> None:
    before = len(secured.messages())
    with pytest.raises(Unsent):  # its certificate is for "localhost"
        await send(connection(secured, secured.url("127.0.0.1")))
    stranger = SmtpServer(Server.of(secured.url()), reactor=reactor, hello="ducks.example")
    with pytest.raises(Unsent):
        await send(stranger)
    assert len(secured.messages()) == before


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_is_no_fault_of_the_letter_and_is_not_told(
    secured: MailServer,
) -> None:
    with pytest.raises(Unsent, match="535") as caught:
        await send(connection(secured, secured.url(credentials="ducks:wrong-secret@")))
    assert "wrong-secret" not in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_a_password_is_not_said_in_the_clear(plain: MailServer) -> None:
    with pytest.raises(Unsent, match="TLS"):
        await send(connection(plain))
    with pytest.raises(Unsent, match="refused"):
        await send(SmtpServer(Server("localhost", free_port(), False), reactor=reactor, hello="x"))
    await send(connection(plain, plain.url(credentials="")))
    assert len(plain.messages()) == 1


@pytest_twisted.ensureDeferred
async def test_the_servers_word_decides_what_becomes_of_a_letter(plain: MailServer) -> None:
    to = connection(plain, plain.url(credentials=""))
    with pytest.raises(Undeliverable, match=r"550 5\.1\.1 no such user"):
        await send(to, "unknown@mail.example")
    with pytest.raises(Unsent, match=r"451 4\.7\.1"):
        await send(to, "greylist@mail.example")
    with pytest.raises(Unsent, match="lost"):
        await send(to, "dropped@mail.example")
    plain.allow("greylist")
    await send(to, "greylist@mail.example")
    assert len(plain.messages()) == 1


# --- the whole way, with a registry -------------------------------------------------------------


@asynccontextmanager
async def opened(url: str, clock: Clock) -> AsyncIterator[Mailbag]:
    async with thread_pool(reactor) as pool:
        registry = Registry(SqlStore(url, pool), clock=clock, keys=zone_keys())
        await registry.start()
        try:
            yield Mailbag(registry, clock=clock)
        finally:
            await registry.stop()


def letter(to: str, kind: LetterKind = LetterKind.DELEGATED) -> Letter:
    return replace(site_letter(kind, SITE), recipient=to, language="en")


@pytest_twisted.ensureDeferred
async def test_letters_arrive_in_order_through_an_outage(plain: MailServer, tmp_path: Path) -> None:
    clock = Clock()
    clock.rightNow = 1_800_000_000
    async with opened(f"sqlite:///{tmp_path}/registry.sqlite", clock) as bag:
        from watchducks.mail.assembly import ToServer

        server = SmtpServer(
            Server.of(plain.url(credentials="")), reactor=reactor, hello="ducks.example"
        )
        transport = ToServer(server, SENDER.address)
        courier = Courier(
            bag,
            Composer(SENDER),
            transport,
            opens=nothing_sealed,
            unsubscribes=a_link,
            clock=clock,
        )
        await bag.post(letter("unknown@mail.example"))
        await bag.post(letter("owner@mail.example"))
        await bag.post(letter("owner@mail.example", LetterKind.MOVED))
        plain.kill()
        await courier.start()

        async def failed() -> bool:
            return courier.failures >= 2

        async def through() -> bool:
            clock.advance(30)
            return courier.sent == 2 and courier.given_up == 1

        await eventually(REACTOR, failed, "the server to be away", SECONDS)
        plain.start()
        await eventually(REACTOR, through, "all letters", SECONDS)
        await courier.stop()
        counts = await bag.counted()
        assert counts == {
            LetterState.WAITING: 0, LetterState.SENT: 2, LetterState.GIVEN_UP: 1
        }  # fmt: skip
        subjects = [str(message["Subject"]) for message in plain.messages()]
        assert len(subjects) == 2
        assert "have arrived" in subjects[0]
        assert "has left" in subjects[1]
        for message in plain.messages():
            assert message["List-Unsubscribe"] == f"<{SENDER.url}/letters/code>"
            assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest_twisted.ensureDeferred
async def test_a_courier_that_is_killed_loses_no_letter(plain: MailServer, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.sqlite"
    async with open_registry(url, reactor) as registry:
        assert await Mailbag(registry, clock=REACTOR).post(letter("stuck@mail.example"))
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.wire.courier_program"]
    command += [url, plain.url(credentials=""), str(plain.ca_file)]
    process = subprocess.Popen(command, cwd=ROOT)  # noqa: ASYNC220  it runs beside us
    try:
        # The server has it, and says nothing: whether it is responsible nobody knows.
        wait_until(lambda: len(plain.messages()) == 1, "the message", SECONDS)
    finally:
        process.kill()
        process.wait(SECONDS)
    plain.allow("stuck")
    clock = Clock()
    clock.rightNow = REACTOR.seconds() + LEASE_SECONDS - 30
    async with opened(url, clock) as bag:
        assert await bag.take_due(10) == []
        clock.advance(60)
        (found,) = await bag.take_due(10)
        message = Composer(SENDER).compose(found)
        to = connection(plain, plain.url(credentials=""))
        await to.send(SENDER.address, found.letter.recipient, message.as_bytes())
        await bag.keep_sent(found)
    first, second = plain.messages()
    # Who gets it twice can tell.
    assert first["Message-ID"] == second["Message-ID"]
