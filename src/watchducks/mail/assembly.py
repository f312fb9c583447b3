"""How letters leave, by ``mail.url``: as files in the outbox, or to a mail server."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from watchducks.background import StartupError, Threads
from watchducks.mail.courier import Transport
from watchducks.mail.smtp import Server, SmtpServer
from watchducks.model.letters import Unsent
from watchducks.settings import Settings
from watchducks.stores.interfaces import StoreUnavailable
from watchducks.stores.outbox import Outbox


class ToOutbox:
    """Leaves messages as files."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def send(self, message: EmailMessage) -> None:
        """See :class:`watchducks.mail.courier.Transport`."""
        try:
            await self._outbox.send(message)
        except StoreUnavailable as error:
            raise Unsent(str(error)) from error


class ToServer:
    """Gives messages to a mail server.

    :param sender: to whom the server writes what it could not deliver.
    """

    def __init__(self, server: SmtpServer, sender: str) -> None:
        self._server = server
        self._sender = sender

    async def send(self, message: EmailMessage) -> None:
        """See :class:`watchducks.mail.courier.Transport`."""
        await self._server.send(self._sender, str(message["To"]), message.as_bytes(policy=SMTP))


def open_transport(settings: Settings, *, threads: Threads, reactor: Any) -> Transport:
    """Return what carries messages away as ``settings.mail`` says. Reads ``mail.ca_file``.

    :raises StartupError: that cannot be read.
    """
    mail = settings.mail
    if mail.url.startswith("outbox:"):
        return ToOutbox(Outbox(settings.node.data_dir / "outbox", threads))
    hello = mail.sender.rpartition("@")[2]
    try:
        server = SmtpServer(Server.of(mail.url), reactor=reactor, hello=hello, ca_file=mail.ca_file)
    except (OSError, ValueError) as error:
        raise StartupError(f"mail.ca_file = {mail.ca_file}: {error}") from error
    return ToServer(server, mail.sender)
