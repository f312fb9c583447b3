"""Listening sockets that are there already: those of systemd, and those that a keeper hands on.

``systemd:NAME`` in the configuration stands for every descriptor of that name (FileDescriptorName=
of a socket unit), streams and datagrams alike, each used as what it is. So do Twisted's own
spellings: ``systemd:domain=INET:index=0`` for one descriptor, ``systemd:domain=INET:name=NAME``.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint

# SD_LISTEN_FDS_START of sd_listen_fds(3).
FIRST_DESCRIPTOR: Final = 3
_ENVIRONMENT: Final = Path("/proc/self/environ")
_SYSTEMD: Final = re.compile(
    r"systemd:(?:domain=(?P<domain>INET|INET6|UNIX):)?"
    r"(?:index=(?P<index>[0-9]{1,3})|(?:name=)?(?P<name>[^:=]+))"
)


class NoSuchSocket(ValueError):
    """The configuration names a descriptor that was not inherited; the text says which were."""


class Inherited(NamedTuple):
    """A descriptor that was open when this process began, and what it is called."""

    descriptor: int
    name: str


def inherited_descriptors(environ: Mapping[str, str] | None = None) -> tuple[Inherited, ...]:
    """Return what systemd gave this process, in its order.

    :param environ: None: that of the kernel, as it was when this process began. Twisted takes these
        variables out of ``os.environ`` when its endpoints are first imported.
    """
    if environ is None:
        environ = _first_environment()
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit():
        return ()
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (int(count) - len(names))
    return tuple(Inherited(FIRST_DESCRIPTOR + at, names[at]) for at in range(int(count)))


def _first_environment() -> dict[str, str]:
    try:
        content = _ENVIRONMENT.read_bytes()
    except OSError:
        return {}
    pairs = (item.partition(b"=") for item in content.split(b"\0"))
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}


def is_systemd(text: str) -> bool:
    """Return whether ``text`` names descriptors of systemd. They need not be there: who checks a
    configuration is another process."""
    return _SYSTEMD.fullmatch(text) is not None


class Sockets:
    """The sockets of this process that are bound already, by the texts of the configuration."""

    def __init__(
        self,
        handed: Mapping[str, Sequence[socket.socket]] | None = None,
        *,
        inherited: Sequence[Inherited] | None = None,
    ) -> None:
        """:param handed: text -> sockets that a keeper gave for it; they stay open.
        :param inherited: None: what systemd gave this process.
        """
        self._handed = handed or {}
        self._inherited = inherited_descriptors() if inherited is None else tuple(inherited)

    def has(self, text: str) -> bool:
        """Return whether ``text`` names sockets that outlive their use by this process."""
        return text in self._handed or is_systemd(text)

    def take(self, text: str) -> list[socket.socket] | None:
        """Return copies of the sockets that stand for ``text``, the caller's to close; None: there
        are none, it is to be bound.

        The originals stay open: what comes while nobody reads waits in the kernel for whoever takes
        them next.

        :raises NoSuchSocket: systemd was to give them and has not.
        """
        handed = self._handed.get(text)
        if handed is not None:
            return [one.dup() for one in handed]
        match = _SYSTEMD.fullmatch(text)
        if match is None:
            return None
        if match["index"] is not None:
            found = [one.descriptor for one in self._inherited[int(match["index"]) :][:1]]
        else:
            found = [one.descriptor for one in self._inherited if one.name == match["name"]]
        if not found:
            raise NoSuchSocket(f"systemd gave no such descriptor, only {self._said()}")
        return [socket.socket(fileno=os.dup(descriptor)) for descriptor in found]

    def _said(self) -> str:
        names = [one.name or "one without a name" for one in self._inherited]
        return ", ".join(names) or "none (LISTEN_FDS)"

    def streams(self, text: str, *, reactor: Any, unbound: str = "") -> list[IStreamServerEndpoint]:
        """Return the endpoints to listen on for ``text``.

        :param unbound: Twisted's text of the endpoint, if nothing is bound yet; "": the same.
        :raises NoSuchSocket: systemd was to give streams and has not.
        """
        found = self.take(text)
        if found is None:
            return [serverFromString(reactor, unbound or text)]
        streams, others = by_kind(found)
        for other in others:
            other.close()
        if not streams:
            raise NoSuchSocket("systemd gave sockets of datagrams, and streams are wanted")
        return [adopting(stream, reactor=reactor) for stream in streams]


def by_kind(
    sockets: Sequence[socket.socket],
) -> tuple[list[socket.socket], list[socket.socket]]:
    """Return those of streams, and those of datagrams."""
    streams = [one for one in sockets if one.type == socket.SOCK_STREAM]
    return streams, [one for one in sockets if one not in streams]


def adopting(stream: socket.socket, *, reactor: Any) -> IStreamServerEndpoint:
    """Return the endpoint that listens on ``stream``, which is its own from now on."""
    family = stream.family
    return AdoptedStreamServerEndpoint(reactor, stream.detach(), family)
