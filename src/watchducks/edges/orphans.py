"""Edges whose keeper is gone: they go on serving, and wait for the next keeper.

A keeper that dies takes nobody along. Each edge without one listens on a socket of its own in
``data_dir/run``. The next keeper connects to all of them, is given their listening sockets, starts
edges of its own on these, and then tells the others to end, which they do as at any stop: so nobody
is refused, whoever bound the sockets. A keeper that fails before that leaves them as they were.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

PREFIX: Final = "orphan-"
# What one message may carry: the kernel's SCM_MAX_FD.
MAX_DESCRIPTORS: Final = 253
MAX_BYTES: Final = 64 * 1024
# An edge answers within a turn of its reactor, or hangs.
CONNECT_SECONDS: Final = 2.0
DISMISSED: Final = b"end\n"

Pairs = Sequence[tuple[str, socket.socket]]


class _Directory:
    """Gives the sockets in a directory short names: a socket's may have 107 bytes."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def name(self, name: str) -> str:
        return f"/proc/self/fd/{self._descriptor}/{name}"

    def __enter__(self) -> _Directory:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


@implementer(IReadDescriptor)
class Waiting:
    """An edge's side: waits for a keeper. Never blocks."""

    _log = Logger()

    def __init__(
        self, directory: Path, pairs: Pairs, end: Callable[[], None], *, reactor: Any
    ) -> None:
        """:param pairs: the listening sockets, with their texts.
        :param end: called when a keeper says that we are not needed any more.
        """
        self._pairs = pairs
        self._end = end
        self._reactor = reactor
        self._path = directory / f"{PREFIX}{os.getpid()}"
        self._keepers: list[_Keeper] = []
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        with _Directory(directory) as folder:
            self._socket.bind(folder.name(self._path.name))
        self._path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        self._socket.listen()
        reactor.addReader(self)

    def doRead(self) -> None:
        try:
            keeper, _ = self._socket.accept()
        except OSError:
            return
        texts = json.dumps([text for text, _ in self._pairs]).encode()
        try:
            socket.send_fds(keeper, [texts], [one.fileno() for _, one in self._pairs])
        except OSError as error:
            self._log.warn("a keeper cannot be told of our sockets: {error}", error=str(error))
            keeper.close()
            return
        self._keepers.append(_Keeper(keeper, self._end, reactor=self._reactor))

    def close(self) -> None:
        """Wait no more."""
        self._reactor.removeReader(self)
        self._socket.close()
        self._path.unlink(missing_ok=True)
        for keeper in self._keepers:
            keeper.connectionLost()

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "waiting for a keeper"

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Nothing but the end of the reactor leads to it."""


@implementer(IReadDescriptor)
class _Keeper:
    """A keeper that has our sockets, until he says that he needs us no more, or is gone."""

    def __init__(self, connection: socket.socket, end: Callable[[], None], *, reactor: Any) -> None:
        self._connection = connection
        self._end = end
        self._reactor = reactor
        connection.setblocking(False)
        reactor.addReader(self)

    def doRead(self) -> None:
        try:
            said = self._connection.recv(len(DISMISSED))
        except BlockingIOError:
            return
        except OSError:
            said = b""
        self.connectionLost()
        if said == DISMISSED:
            self._end()

    def fileno(self) -> int:
        return self._connection.fileno()

    def logPrefix(self) -> str:
        return "a keeper"

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: ARG002
        if self._connection.fileno() != -1:
            self._reactor.removeReader(self)
            self._connection.close()


class Orphan:
    """The keeper's side: one edge of a keeper that is gone."""

    def __init__(self, connection: socket.socket, pairs: Pairs) -> None:
        self._connection = connection
        self.pairs = pairs

    def dismiss(self) -> None:
        """Let it end: others have taken its place. Never raises."""
        try:
            self._connection.sendall(DISMISSED)
        except OSError:
            return  # it ended by itself
        finally:
            self._connection.close()

    def leave(self) -> None:
        """Let it go on as before."""
        self._connection.close()


def find_orphans(directory: Path) -> list[Orphan]:
    """Return the edges that wait in ``directory``. Blocks, for :data:`CONNECT_SECONDS` an edge."""
    found = []
    with _Directory(directory) as folder:
        for path in sorted(directory.glob(f"{PREFIX}*")):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(CONNECT_SECONDS)
            try:
                connection.connect(folder.name(path.name))
                texts, descriptors, _, _ = socket.recv_fds(connection, MAX_BYTES, MAX_DESCRIPTORS)
                sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
                found.append(Orphan(connection, list(zip(json.loads(texts), sockets, strict=True))))
            except ConnectionRefusedError:
                connection.close()
                path.unlink(missing_ok=True)  # it died
            except (OSError, ValueError) as error:
                connection.close()
                Logger().warn(
                    "the edge of {path} does not answer: {error}", path=str(path), error=str(error)
                )
    return found
