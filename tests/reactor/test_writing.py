"""Writing: collected, in order, paused where the stock reactor pauses; never in the clear."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from tests.reactor.turning import Producer, Turning, something_at_once
from tests.unit.certificates.authority import Authority
from watchducks.certificates.pairs import make_context

BIG = b"0123456789abcdef" * 500_000  # more than the kernel takes on loopback


def test_what_is_written_arrives_in_order(either: Turning) -> None:
    protocol, peer = either.connect()
    protocol.transport.write(b"one ")
    protocol.transport.writeSequence([b"two ", b"three "])
    protocol.transport.write(b"")
    protocol.transport.write(b"four")
    assert either.receive(peer, 18) == b"one two three four"


def test_what_is_too_much_for_the_kernel_arrives_in_order(either: Turning) -> None:
    protocol, peer = either.connect()
    protocol.transport.write(b"first")
    protocol.transport.write(BIG)
    protocol.transport.write(b"last")
    assert either.receive(peer, len(BIG) + 9) == b"first" + BIG + b"last"


def test_a_flush_that_the_kernel_takes_in_part(either: Turning) -> None:
    protocol, peer = either.connect()
    protocol.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sent = b""
    for number in range(100):
        piece = b"%d" % (number % 10) * 5000
        protocol.transport.write(piece)
        sent += piece
        either.turn()
    assert protocol.transport in either.reactor.getWriters()
    assert either.receive(peer, len(sent)) == sent


def test_what_is_to_be_done_before_sending_is_done_once_and_before(ours: Turning) -> None:
    protocol, peer = ours.connect()
    sent: list[bytes | None] = []

    def answer(_: bytes) -> None:
        protocol.transport.write(b"answer")
        ours.reactor.before_sending(lambda: sent.append(something_at_once(peer)))

    protocol.on_data = answer
    peer.send(b"question")
    ours.until(lambda: sent)
    assert ours.receive(peer, 6) == b"answer"
    assert sent == [None]
    # Also where nothing is sent, and outside of events.
    ours.reactor.before_sending(lambda: sent.append(b""))
    ours.turn()
    assert sent == [None, b""]


def test_what_is_to_be_done_before_sending_is_done_before_the_stock_code_sends(
    ours: Turning,
) -> None:
    protocol, peer = ours.connect()
    protocol.transport.write(BIG)
    ours.until(lambda: protocol.transport in ours.reactor.getWriters())
    sent: list[bytes | None] = []
    protocol.on_data = lambda _: ours.reactor.before_sending(
        lambda: sent.append(something_at_once(peer))
    )
    peer.send(b"x")
    taken = 0
    while more := something_at_once(peer):
        taken += len(more)
    # Now it is readable and writable, which is one event.
    ours.until(lambda: sent)
    assert sent == [None]
    assert len(ours.receive(peer, len(BIG) - taken)) == len(BIG) - taken


def test_collecting_goes_on_after_the_kernel_was_full(ours: Turning) -> None:
    protocol, peer = ours.connect()
    protocol.transport.write(BIG)
    assert len(ours.receive(peer, len(BIG))) == len(BIG)
    ours.until(lambda: protocol.transport not in ours.reactor.getWriters())
    protocol.transport.write(b"x")
    assert protocol.transport.fileno() not in ours.reactor._writes
    assert ours.receive(peer, 1) == b"x"


def test_one_tick_is_one_send(ours: Turning) -> None:
    protocol, peer = ours.connect()
    for _ in range(1000):
        protocol.transport.write(b"x")
    assert something_at_once(peer) is None
    ours.turn()
    assert something_at_once(peer) == b"x" * 1000


def test_a_write_of_a_timed_call_does_not_wait_for_an_event(either: Turning) -> None:
    protocol, peer = either.connect()
    either.reactor.callLater(0, protocol.transport.write, b"now")
    assert either.receive(peer, 3) == b"now"


@pytest.mark.parametrize("wrong", ["text", bytearray(b"mutable"), None])
def test_only_bytes_are_written(either: Turning, wrong: Any) -> None:
    protocol, peer = either.connect()
    with pytest.raises(TypeError):
        protocol.transport.write(wrong)
    with pytest.raises(TypeError):
        protocol.transport.writeSequence([b"fine", wrong])
    protocol.transport.write(b"after")
    assert either.receive(peer, 5) == b"after"


def test_writing_after_the_loss_is_ignored(either: Turning) -> None:
    protocol, peer = either.connect()
    transport = protocol.transport
    transport.write(b"in time")
    assert either.receive(peer, 7) == b"in time"
    peer.close()
    either.until(lambda: protocol.lost)
    transport.write(b"too late")
    transport.writeSequence([b"too", b"late"])
    either.turn()
    assert not either.errors
    assert not transport._tempDataBuffer  # nor kept for as long as somebody holds the transport


# --- producers ---


def test_a_push_producer_is_paused_and_resumed(either: Turning) -> None:
    protocol, peer = either.connect()
    producer = Producer()
    protocol.transport.registerProducer(producer, True)
    written = 0
    while producer.told != ["pause"]:
        protocol.transport.write(b"x" * 1000)
        written += 1000
    assert len(either.receive(peer, written)) == written
    either.until(lambda: producer.told == ["pause", "resume"])
    protocol.transport.unregisterProducer()


def test_a_push_producer_is_paused_by_what_the_buffer_is_not_to_hold(either: Turning) -> None:
    protocol, peer = either.connect()
    producer = Producer()
    protocol.transport.registerProducer(producer, True)
    for _ in range(2):
        protocol.transport.write(b"x" * (protocol.transport.bufferSize // 2))
        assert producer.told == []
    protocol.transport.write(b"x")
    assert producer.told == ["pause"]
    assert len(either.receive(peer, 65537)) == 65537
    either.until(lambda: producer.told == ["pause", "resume"])
    protocol.transport.unregisterProducer()


# --- TLS ---


@implementer(IOpenSSLServerConnectionCreator)
class _Certified:
    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, _protocol: object) -> SSL.Connection:
        return SSL.Connection(self._context, None)


def test_start_tls_lets_no_plaintext_out_through_a_kept_write(either: Turning) -> None:
    protocol, peer = either.connect()
    chain, key = Authority().certify("www.example.com")
    write = protocol.transport.write
    write(b"plain;")
    protocol.transport.startTLS(_Certified(make_context(chain, key, ())))
    # A little, and so much that Twisted's TLS does not wait for more (on a clock that does not turn
    # here).
    secret = b"secret" * 20_000
    write(b"secret")
    write(secret)
    protocol.transport.writeSequence([secret, b"."])
    assert either.receive(peer, 6) == b"plain;"

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing)
    deciphered = b""
    raw = b""
    expected = b"secret" + secret + secret + b"."
    while len(deciphered) < len(expected):
        try:
            deciphered += client.read(100_000)
        except ssl.SSLWantReadError:
            if outgoing.pending:
                peer.sendall(outgoing.read())
            more = either.receive(peer, 1) + (something_at_once(peer) or b"")
            raw += more
            incoming.write(more)
    assert deciphered == expected
    assert b"secret" not in raw
