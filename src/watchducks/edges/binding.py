"""Listening sockets that are bound once, by the keeper, and used by its edges.

All edges accept connections from the same socket: whoever has time takes the next, and one that
dies leaves what it did not take to the others. Datagrams have a socket for each edge
(SO_REUSEPORT), because one socket would wake all edges for every question. The keeper keeps all of
them open, so that what comes while an edge is replaced waits in the kernel.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from watchducks.background import StartupError
from watchducks.nameserver.datagrams import bound_udp
from watchducks.nameserver.listener import parse_udp
from watchducks.proxy.service import BACKLOG
from watchducks.sockets import NoSuchSocket, Sockets, by_kind

# Colons of IPv6 addresses are written with a backslash, as in all endpoint strings.
_PART: Final = re.compile(r"(?:[^:\\]|\\.)+")

Bound = dict[str, list[socket.socket]]


class TcpEndpoint(NamedTuple):
    port: int
    interface: str
    backlog: int
    family: socket.AddressFamily


def parse_tcp(text: str) -> TcpEndpoint:
    """Read ``tcp:PORT`` or ``tcp6:PORT``, with ``interface=`` and ``backlog=``.

    :raises ValueError: it is another kind of endpoint.
    """
    kind, *parts = (part.replace("\\", "") for part in _PART.findall(text))
    options = dict(zip(("port", "interface", "backlog"), ("", "", str(BACKLOG)), strict=True))
    for at, part in enumerate(parts):
        key, equals, value = part.partition("=")
        if not equals:
            key, value = ("port", part) if at == 0 else ("", "")
        if key not in options:
            raise ValueError(part)
        options[key] = value
    if kind not in ("tcp", "tcp6"):
        raise ValueError(kind)
    interface = options["interface"] or ("::" if kind == "tcp6" else "")
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    return TcpEndpoint(int(options["port"]), interface, int(options["backlog"]), family)


def bound_tcp(endpoint: TcpEndpoint, *, shared: bool = False) -> socket.socket:
    """Return a listening socket.

    :param shared: others may be bound to the same, and the kernel distributes among all of them.
    :raises OSError: it cannot be bound.
    """
    bound = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((endpoint.interface, endpoint.port))
        bound.listen(endpoint.backlog)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


class Bindings:
    """The sockets of all edges, by the texts of the configuration.

    :param edges: how many there are to be.
    :param before: those of edges that run already, for the same texts; taken over.
    """

    def __init__(self, edges: int, before: Mapping[str, Sequence[socket.socket]]) -> None:
        self._edges = edges
        self._systemd = Sockets()
        self._bound: Bound = {text: list(sockets) for text, sockets in before.items()}

    def open(self, key: str, texts: Sequence[str]) -> None:
        """Bind what ``texts`` name and is not bound yet.

        :param key: the configuration's, for complaints.
        :raises StartupError: one of them cannot be had.
        """
        for text in texts:
            try:
                if text.startswith("udp:"):
                    self._open_datagrams(text)
                elif text not in self._bound:
                    found = self._systemd.take(text)
                    self._bound[text] = [bound_tcp(parse_tcp(text))] if found is None else found
            except NoSuchSocket as error:
                raise StartupError(f"{key}: {text}: {error}") from error
            except OSError as error:
                raise StartupError(f"{key}: {text}: cannot listen: {error.strerror}") from error
            except ValueError as error:
                raise StartupError(
                    f"{key}: {text}: with node.workers accepted is tcp:, tcp6:, udp: and systemd:"
                ) from error

    def _open_datagrams(self, text: str) -> None:
        bound = self._bound.setdefault(text, [])
        port, interface = parse_udp(text)
        if bound:
            port = bound[0].getsockname()[1]
        while len(bound) < self._edges:
            bound.append(bound_udp(port, interface, shared=True))
            port = bound[0].getsockname()[1]
        for surplus in bound[self._edges :]:
            surplus.close()
        del bound[self._edges :]

    def keep_only(self, texts: Sequence[str]) -> None:
        """Close what is not wanted any more."""
        for text in self._bound.keys() - set(texts):
            for one in self._bound.pop(text):
                one.close()

    def of(self, number: int) -> list[tuple[str, socket.socket]]:
        """Return what the edge ``number`` listens on, as pairs of text and socket."""
        pairs = []
        for text, sockets in self._bound.items():
            streams, datagrams = by_kind(sockets)
            own = datagrams[number % len(datagrams) :][:1] if datagrams else []
            pairs += [(text, one) for one in (*streams, *own)]
        return pairs

    def close(self) -> None:
        self.keep_only(())


def by_text(pairs: Sequence[tuple[str, socket.socket]]) -> Bound:
    """Return text -> sockets, each socket once: several processes may have handed us the same."""
    bound: Bound = {}
    seen = set()
    for text, one in pairs:
        inode = os.fstat(one.fileno()).st_ino
        if inode in seen:
            one.close()
            continue
        seen.add(inode)
        bound.setdefault(text, []).append(one)
    return bound
