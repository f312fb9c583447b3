"""Ports for private servers on the loopback interface."""

from __future__ import annotations

import random
import socket
from typing import Literal

Kind = Literal["tcp", "udp", "both"]

LOOPBACK = "127.0.0.1"

# Below 32768, where Linux takes the ports of outgoing connections from: a server that a test stops
# and starts again on its port would now and then find it taken by one of those. Above 20000 there
# is nothing well-known.
LOWEST, HIGHEST = 20000, 32000

# With a dozen ports in use the first one tried is free nearly always; a machine on which a hundred
# are not has another problem.
ATTEMPTS = 100

_SOCKET_TYPES: dict[Kind, tuple[socket.SocketKind, ...]] = {
    "tcp": (socket.SOCK_STREAM,),
    "udp": (socket.SOCK_DGRAM,),
    "both": (socket.SOCK_STREAM, socket.SOCK_DGRAM),
}

# Random, and not the first one that is free: test runs side by side must not choose alike.
_choose = random.SystemRandom()
_given: set[int] = set()


def free_port(kind: Kind = "both") -> int:
    """Return a port that nobody uses on 127.0.0.1 and that this function never returned before.

    It is free now, not reserved: start the server on it soon.
    """
    for _ in range(ATTEMPTS):
        port = _choose.randrange(LOWEST, HIGHEST)
        if port not in _given and all(_is_free(port, type_) for type_ in _SOCKET_TYPES[kind]):
            _given.add(port)
            return port
    raise RuntimeError(f"no free {kind} port on {LOOPBACK} after {ATTEMPTS} attempts")


def _is_free(port: int, type_: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, type_) as candidate:
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
