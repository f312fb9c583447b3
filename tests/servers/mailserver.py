"""A private mail server: what tests/servers/mail_program.py describes."""

from __future__ import annotations

import socket
import sys
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerProcess
from tests.unit.certificates.authority import Authority

PROGRAM = Path(__file__).with_name("mail_program.py")
CREDENTIALS = "ducks:p%40ss%3Aword"


class MailServer(ServerProcess):
    """:ivar ca_file: who signed its certificate, which is for ``localhost`` only."""

    name = "the mail server"

    def __init__(self, directory: Path, mode: str = "starttls") -> None:
        super().__init__(directory)
        self._mode = mode
        self.port = free_port()
        self.received = directory / "received"
        self.received.mkdir()
        authority = Authority()
        authority.write(directory / "own", "localhost")
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))

    def command(self) -> list[str]:
        own = self.directory / "own"
        files = [str(own / "fullchain.pem"), str(own / "privkey.pem")]
        return [
            sys.executable, str(PROGRAM), str(self.port), str(self.received), self._mode, *files
        ]  # fmt: skip

    def answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), 1):
                return True
        except OSError:
            return False

    def url(self, host: str = "localhost", credentials: str = f"{CREDENTIALS}@") -> str:
        """Return what ``mail.url`` says to use it."""
        scheme = "smtps" if self._mode == "tls" else "smtp"
        return f"{scheme}://{credentials}{host}:{self.port}"

    def allow(self, word: str) -> None:
        """Let the recipient with this name be as any other from now on."""
        (self.received / word).touch()

    def messages(self) -> list[EmailMessage]:
        """Return what it has taken, in order."""
        files = sorted(self.received.glob("*.eml"), key=lambda file: int(file.stem))
        return [message_from_bytes(file.read_bytes(), policy=default) for file in files]
