"""The nursery: a small process that forks edges, and the keeper's way to ask it.

Edges are forked, not started anew, for three reasons. They all know the key that TLS session
tickets are sealed with, which OpenSSL makes with the first context, and which this OpenSSL gives no
way to set or to read: so a visitor's session is resumed by whichever edge he comes to, also by one
that has taken the place of another. A new edge serves in a fraction of a second, because everything
is imported already. And what they have in common is in memory once.

The nursery itself has no reactor and no threads, so that forking it is safe. It ends with its
keeper; the edges do not.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from watchducks.edges.orphans import MAX_BYTES, MAX_DESCRIPTORS, Pairs

MODULE: Final = "watchducks.appliance.nursery"
# The nursery's own descriptor of the keeper, behind stdin, stdout and stderr.
DESCRIPTOR: Final = 3
# The nursery reads at once; if it does not, it is dead or stopped.
_SEND_SECONDS: Final = 2.0

# What an edge begins with: its number, its line to the keeper, and its listening sockets.
Begin = Callable[[int, socket.socket, Pairs], None]


def serve(keeper: socket.socket, begin: Begin) -> None:
    """Fork an edge for each message of the keeper, until he is gone.

    :param begin: runs the edge in a process of its own; does not return before its end.
    """
    # Ctrl-C in a terminal is for the keeper, who tells the edges to end in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Nobody waits for edges that end: the keeper hears of it by the line.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(keeper, MAX_BYTES, MAX_DESCRIPTORS)
        except ConnectionError:
            return
        if not message:
            return
        if os.fork() == 0:
            _become_an_edge(keeper, message, descriptors, begin)
        for descriptor in descriptors:
            os.close(descriptor)


def _become_an_edge(
    keeper: socket.socket, message: bytes, descriptors: list[int], begin: Begin
) -> None:
    code = 1
    try:
        keeper.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        number, texts = json.loads(message)
        line, *sockets = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        begin(number, line, list(zip(texts, sockets, strict=True)))
        code = 0
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


class Nursery:
    """The keeper's side: starts the nursery when the first edge is wanted, and again if it died."""

    _log = Logger()

    def __init__(self, *, reactor: IReactorProcess) -> None:
        self._reactor = reactor
        self._socket: socket.socket | None = None

    def raise_edge(self, number: int, pairs: Pairs) -> socket.socket:
        """Start an edge; returns our end of its line.

        :raises OSError: the nursery cannot be reached; it is started anew by the next call.
        """
        if self._socket is None:
            self._start()
        assert self._socket is not None
        ours, its = socket.socketpair()
        try:
            message = json.dumps([number, [text for text, _ in pairs]]).encode()
            descriptors = [its.fileno(), *(one.fileno() for _, one in pairs)]
            socket.send_fds(self._socket, [message], descriptors)
        except OSError:
            ours.close()
            self.stop()
            raise
        finally:
            its.close()
        return ours

    def _start(self) -> None:
        # SEQPACKET: a message arrives as it was sent, with its descriptors.
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_SEND_SECONDS)
        try:
            self._reactor.spawnProcess(
                _Ended(lambda: self._ended(ours)),
                sys.executable,
                [sys.executable, "-m", MODULE],
                env=dict(os.environ),
                childFDs={0: 0, 1: 1, 2: 2, DESCRIPTOR: its.fileno()},
            )
        finally:
            its.close()
        self._socket = ours

    def _ended(self, its: socket.socket) -> None:
        if self._socket is its:
            self._log.error("the process that forks edges has died; it is started again")
            self.stop()

    def stop(self) -> None:
        """Let it end; the edges go on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Ended(ProcessProtocol):
    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def processEnded(self, reason: Failure) -> None:  # noqa: ARG002
        self._ended()
