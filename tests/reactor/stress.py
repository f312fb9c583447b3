"""Random traffic over one reactor, checked byte by byte: a program, not a test module.

``python -m tests.reactor.stress CLASS SEED SECONDS`` connects pairs of peers that send each other
known streams in pieces of any size, by ``write``, ``writeSequence``, push and pull producers, while
they pause, and that end in every way there is. It raises AssertionError at the first wrong byte,
at a stream that should have arrived and did not, at a connection that is lost twice or never, and
when one is lost from inside a call of its transport. The same seed makes the same peers; what the
kernel does in between differs.
"""

from __future__ import annotations

import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer, IPushProducer
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.python import log
from twisted.python.failure import Failure
from twisted.python.reflect import namedAny
from zope.interface import implementer

# Both directions cut from one stream, at offsets of their own: nothing is sent twice in a row.
STREAM: Final = random.Random(0).randbytes(4_000_000)
MAX_OFFSET: Final = 1_000_000
PAIRS_AT_ONCE: Final = 25
# A pair moves at most some megabytes over loopback, pausing for some tenths of a second.
PAIR_SECONDS: Final = 30.0
# When a socket is closed with unread bytes while the other side's window is full, Linux sends a
# reset that the other side may take for out of window and ignore. Then nobody tells it of the end.
RESET_SECONDS: Final = 2.0

# What a pair is for, and whether each side must then have received all of the other's stream.
SCENARIOS: Final = {
    "polite": True,  # both half-close when they have sent all
    "one way": True,  # one sends all and closes; the other only listens
    "rude": False,  # one closes at some moment
    "abort": False,
    "raise": False,  # one raises an exception when it receives something
}


class Boom(Exception):
    """Raised by a peer on purpose."""


@implementer(IPushProducer)
class Push:
    """Writes a piece in each of many turns while it may."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._paused = False
        self._timer: Any = None
        self.resumeProducing()

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._paused = True
        self._peer.producer_stopped += 1

    def resumeProducing(self) -> None:
        self._paused = False
        if self._timer is None or not self._timer.active():
            self._timer = self._peer.later(0, self._produce)

    def _produce(self) -> None:
        peer = self._peer
        while not self._paused and not peer.lost:
            if not peer.send_piece():
                peer.all_sent(self)
                return
            if peer.random.random() < 0.2:
                self._timer = peer.later(0, self._produce)
                return


@implementer(IPullProducer)
class Pull:
    """Writes a piece each time it is asked, sometimes a little later."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def stopProducing(self) -> None:
        self._peer.producer_stopped += 1

    def resumeProducing(self) -> None:
        if self._peer.random.random() < 0.3:
            self._peer.later(0.001, self._produce)
        else:
            self._produce()

    def _produce(self) -> None:
        if not self._peer.lost and not self._peer.send_piece():
            self._peer.all_sent(self)


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """One end of a pair."""

    transport: Any

    def __init__(self, pair: Pair, number: int, *, quiet: bool) -> None:
        self.pair = pair
        self.random = random.Random(pair.random.random())
        self.lost = False
        self.lost_count = 0
        self.reason: Failure | None = None
        self.producer_stopped = 0
        self.received = 0
        self.done_sending = self.done_receiving = False
        self._offset = self.random.randrange(MAX_OFFSET)
        self._sent = 0
        self._length = 0 if quiet else int(2 ** self.random.uniform(0, 19))
        self._inside = 0
        self._other_number = 1 - number
        self._until_misbehaving = self.random.randrange(40) if pair.misbehaving == number else None

    # --- the transport, as seen from outside ---

    @contextmanager
    def inside(self) -> Iterator[None]:
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def later(self, seconds: float, call: Any) -> Any:
        return self.pair.reactor.callLater(seconds, call)

    def connectionMade(self) -> None:
        # Small, so that the kernel often takes only some of it; smaller ones make TCP itself crawl.
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            if self.random.random() < 0.5:
                size = int(2 ** self.random.uniform(13, 17))
                self.transport.getHandle().setsockopt(socket.SOL_SOCKET, option, size)
        if self._until_misbehaving is not None:  # there may be too little traffic to get to it
            self.later(self.random.uniform(0, 0.3), self._leave)
        how = self.random.choice(("push", "pull", "plain", "plain"))
        if how == "plain":
            self._write_on()
        else:
            producer = Push(self) if how == "push" else Pull(self)
            with self.inside():
                self.transport.registerProducer(producer, how == "push")

    def _leave(self) -> None:
        if not self.lost:
            with self.inside():
                if self.pair.scenario == "abort":
                    self.transport.abortConnection()
                else:
                    self.transport.loseConnection()
                    self.transport.unregisterProducer()  # else a pull producer goes on

    def _write_on(self) -> None:
        while not self.lost:
            if not self.send_piece():
                self.all_sent(None)
                return
            if self.random.random() < 0.05:
                self.later(self.random.choice((0, 0, 0.002)), self._write_on)
                return

    def send_piece(self) -> bool:
        """Send some more; return whether there was any."""
        left = self._length - self._sent
        if not left or self._misbehave():
            return False
        size = min(left, int(2 ** self.random.uniform(0, 18 if left > 50_000 else 9)))
        start = self._offset + self._sent
        self._sent += size
        piece = STREAM[start : start + size]
        with self.inside():
            if self.random.random() < 0.2:
                cut = self.random.randrange(size)
                self.transport.writeSequence([piece[:cut], piece[cut:]])
            else:
                self.transport.write(piece)
        return True

    def all_sent(self, producer: object) -> None:
        """Nothing is left to send: end our direction."""
        with self.inside():
            if producer is not None:
                self.transport.unregisterProducer()
            if self.done_sending or self.lost:
                return
            self.done_sending = True
            if self.pair.scenario == "polite":
                self.transport.loseWriteConnection()
            elif self.pair.scenario == "one way" and self._length:
                self.transport.loseConnection()

    def _misbehave(self) -> bool:
        """End the connection in the pair's way, if it is time. Return whether it was."""
        if self._until_misbehaving is None:
            return False
        self._until_misbehaving -= 1
        if self._until_misbehaving > 0:
            return False
        with self.inside():
            if self.pair.scenario == "abort":
                self.transport.abortConnection()
            elif self.pair.scenario == "rude":
                self.transport.loseConnection()
                self.transport.write(b"")
        if self.pair.scenario == "raise":
            if self._inside_data_received:
                self.pair.raised += 1
                self._until_misbehaving = None
                raise Boom
            return False
        return True

    # --- what arrives ---

    _inside_data_received = False

    def dataReceived(self, data: bytes) -> None:
        assert not self.lost, "data after connectionLost"
        assert not self._inside, "dataReceived from inside a call of the transport"
        other = self.pair.peers[self._other_number]
        start = other._offset + self.received
        assert data == STREAM[start : start + len(data)], f"wrong bytes at {self.received}"
        self.received += len(data)
        assert self.received <= other._sent
        self._inside_data_received = True
        try:
            self._misbehave()
        finally:
            self._inside_data_received = False
        if self.random.random() < 0.1:
            with self.inside():
                self.transport.pauseProducing()
            self.later(self.random.choice((0, 0.001, 0.01)), self._read_on)

    def _read_on(self) -> None:
        if not self.lost:
            with self.inside():
                self.transport.resumeProducing()

    def readConnectionLost(self) -> None:
        assert not self._inside
        self.done_receiving = True
        self._close_if_done()

    def writeConnectionLost(self) -> None:
        self.later(0, self._close_if_done)

    def _close_if_done(self) -> None:
        if self.lost:
            return
        if self.pair.scenario != "polite" or (self.done_receiving and self.done_sending):
            # Not `inside`: after a half-close Twisted's own code loses the connection in there.
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert not self._inside, "connectionLost from inside a call of the transport"
        self.lost = True
        self.lost_count += 1
        assert self.lost_count == 1, "connectionLost twice"
        assert reason.check(ConnectionDone, ConnectionLost, ConnectionAborted, Boom), reason
        self.reason = reason
        self.pair.peer_lost()


class Pair:
    """Two peers and what is expected of them."""

    def __init__(self, stress: Stress, number: int) -> None:
        self.reactor = stress.reactor
        self.random = random.Random(f"{stress.seed} {number}")
        self.scenario = self.random.choice(list(SCENARIOS))
        self.misbehaving = (
            self.random.randrange(2) if self.scenario in {"rude", "abort", "raise"} else None
        )
        self.raised = 0
        self._stress = stress
        one_way = self.scenario == "one way"
        self.peers = [Peer(self, 0, quiet=False), Peer(self, 1, quiet=one_way)]
        if one_way:
            self.peers[0]._length += 1
        self._timer = self.reactor.callLater(PAIR_SECONDS, self._stuck, number)

    def _stuck(self, number: int) -> None:
        states = [(peer.lost, peer._sent, peer._length, peer.received) for peer in self.peers]
        self._stress.failed(f"pair {number} ({self.scenario}) did not end: {states}")

    @staticmethod
    def _unheard(peer: Peer) -> None:
        if not peer.lost:
            peer.transport.abortConnection()

    def peer_lost(self) -> None:
        alive = [peer for peer in self.peers if not peer.lost]
        if alive:
            if not SCENARIOS[self.scenario]:
                self.reactor.callLater(RESET_SECONDS, self._unheard, alive[0])
            return
        self._timer.cancel()
        if SCENARIOS[self.scenario]:
            for peer, other in (self.peers, self.peers[::-1]):
                if peer.received != other._length:
                    self._stress.failed(
                        f"{self.scenario}: {peer.received} of {other._length} arrived,"
                        f" {other._sent} were sent; {peer.reason}, {other.reason}"
                    )
        self._stress.pair_ended(self)


class Stress:
    """Keeps :data:`PAIRS_AT_ONCE` pairs going."""

    def __init__(self, reactor: Any, seed: int, seconds: float) -> None:
        self.reactor = reactor
        self.seed = seed
        self.ended: Counter[str] = Counter()
        self.bytes = 0
        self._until = time.monotonic() + seconds
        self._problems: list[str] = []
        self._started = 0
        self._running = 0
        self._booms = self._raised = 0

    def run(self) -> None:
        """:raises AssertionError: something was not as it must be."""
        log.addObserver(self._observe)
        try:
            self.reactor.callWhenRunning(self._more)
            self.reactor.run()
        finally:
            log.removeObserver(self._observe)
        assert not self._problems, f"seed {self.seed}:\n" + "\n".join(self._problems)
        assert self._booms == self._raised, f"{self._raised} raised, {self._booms} logged"

    def _observe(self, event: Any) -> None:
        if not event["isError"]:
            return
        failure = event["failure"]
        if failure.check(Boom):
            self._booms += 1
        else:
            self.failed(failure.getTraceback())

    def failed(self, why: str) -> None:
        # Stopping loses every other connection, which is no news.
        if not self._problems:
            self._problems.append(why)
        if self.reactor.running:
            self.reactor.stop()

    def _more(self) -> None:
        while self._running < PAIRS_AT_ONCE and time.monotonic() < self._until:
            self._running += 1
            self._connect(Pair(self, self._started))
            self._started += 1
        if not self._running and self.reactor.running:
            self.reactor.stop()

    def _connect(self, pair: Pair) -> None:
        accepting = Factory.forProtocol(lambda: pair.peers[1])
        accepting.noisy = False
        port = self.reactor.listenTCP(0, accepting, interface="127.0.0.1")

        class Connecting(ClientFactory):
            noisy = False

            def buildProtocol(self, _address: object) -> Peer:
                # The other has been accepted by then, or will be: the port only stops listening.
                pair.reactor.callLater(0.05, port.stopListening)
                return pair.peers[0]

        self.reactor.connectTCP("127.0.0.1", port.getHost().port, Connecting())

    def pair_ended(self, pair: Pair) -> None:
        self._running -= 1
        self._raised += pair.raised
        self.ended[pair.scenario] += 1
        self.bytes += sum(peer.received for peer in pair.peers)
        self.reactor.callLater(0, self._more)


def main(reactor_class: str, seed: int, seconds: float) -> None:
    reactor = namedAny(reactor_class)()
    stress = Stress(reactor, seed, seconds)
    stress.run()
    print(f"seed {seed}: {dict(stress.ended)}, {stress.bytes / 1e6:.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
