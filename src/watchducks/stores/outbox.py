"""Messages as files: ``data_dir/outbox``, one .eml each, for whoever carries them on."""

from __future__ import annotations

import os
import secrets
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from watchducks.background import Threads
from watchducks.stores.interfaces import StoreUnavailable


class Outbox:
    """
    :param folder: made when the first message is left.
    :param threads: for writing.
    """

    def __init__(self, folder: Path, threads: Threads) -> None:
        self._folder = folder
        self._threads = threads

    async def send(self, message: EmailMessage) -> None:
        """Leave a message, whole or not at all.

        :raises StoreUnavailable: it cannot be written.
        """
        try:
            await self._threads.run(_write, self._folder, message.as_bytes(policy=SMTP))
        except OSError as error:
            raise StoreUnavailable(f"{self._folder}: {error.strerror or error}") from error


def _write(folder: Path, octets: bytes) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = secrets.token_hex(16)
    # What takes the messages away looks for .eml, and so never finds half of one.
    temporary = folder / f"{name}.new"
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / f"{name}.eml")
