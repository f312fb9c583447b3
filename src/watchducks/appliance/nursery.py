"""``python -m watchducks.appliance.nursery``: imports what edges need, and forks them."""

from __future__ import annotations

import gc
import socket
import time

from watchducks.appliance.edge import run_edge
from watchducks.certificates.pairs import make_default_context
from watchducks.edges.nursery import DESCRIPTOR, serve
from watchducks.edges.orphans import Pairs
from watchducks.proxy.accept import ALPN


def main() -> None:
    """Serve the keeper who started us, until he is gone."""
    # Made here so that all edges have it, and with it the keys of session tickets.
    default = make_default_context(time.time(), ALPN)

    def begin(number: int, line: socket.socket, pairs: Pairs) -> None:
        run_edge(number, line, pairs, default)

    # What is here now is in the memory of all edges once, as long as nobody writes to it.
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=DESCRIPTOR), begin)


if __name__ == "__main__":
    main()
