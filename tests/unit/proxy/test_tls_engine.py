"""The two ways to OpenSSL do the same, and records are counted right however they arrive."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from tests.unit.certificates.authority import Authority
from watchducks.certificates.pairs import make_context
from watchducks.proxy.tls import RecordCounter
from watchducks.proxy.tls_engine import (
    RECORD_BYTES,
    DirectEngine,
    PeerClosed,
    TlsEngine,
    best_engine,
    direct_is_possible,
)

VERSIONS = [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]
ENGINES = [TlsEngine, DirectEngine]


class Client:
    """The other side, always over the public API."""

    def __init__(self, version: int) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(version)
        self.connection = SSL.Connection(context, None)
        self.connection.set_connect_state()
        self.engine = TlsEngine(self.connection)


def connected(kind: type[TlsEngine], version: int) -> tuple[TlsEngine, Client]:
    chain, key = Authority().certify("www.example.com")
    connection = SSL.Connection(make_context(chain, key, ()), None)
    connection.set_accept_state()
    engine, client = kind(connection), Client(version)
    done = False
    for _ in range(4):
        client.engine.handshake()
        data = client.engine.take()
        if data:
            engine.feed(data)
        done = engine.handshake()
        data = engine.take()
        if data:
            client.engine.feed(data)
    assert done
    assert client.engine.read() == b""  # takes the tickets
    return engine, client


def test_the_installed_library_allows_the_direct_way() -> None:
    assert direct_is_possible()
    assert best_engine is DirectEngine


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ENGINES)
def test_data_goes_both_ways_unchanged(kind: type[TlsEngine], version: int) -> None:
    engine, client = connected(kind, version)
    rng = random.Random(7)
    for size in (1, 2, 1000, RECORD_BYTES - 1, RECORD_BYTES, *(rng.randint(1, 9000),) * 20):
        text = rng.randbytes(size)
        sent = engine.encrypt(text)
        assert size < 1000 or text not in sent
        assert engine.take() == b""
        client.engine.feed(sent)
        assert client.engine.read() == text
        sent = client.engine.encrypt(text)
        engine.feed(sent[:-1])
        assert engine.read() == b""
        engine.feed(sent[-1:])
        assert engine.read() == text
        assert engine.read() == b""


@pytest.mark.parametrize("records", [2, 7, 8, 9, 33])
@pytest.mark.parametrize("kind", ENGINES)
def test_more_than_a_record_and_than_the_shared_buffer_holds(
    kind: type[TlsEngine], records: int
) -> None:
    engine, client = connected(kind, SSL.TLS1_3_VERSION)
    text = random.Random(7).randbytes(records * RECORD_BYTES - 1)
    engine.connection.send(b"before")  # what OpenSSL says of itself waits like this
    sent = engine.encrypt(text)
    assert engine.take() == b""
    client.engine.feed(sent)
    received = b"".join(client.engine.read() for _ in range(records + 1))
    assert received == b"before" + text
    assert client.engine.read() == b""


@pytest.mark.parametrize("kind", ENGINES)
def test_all_that_waits_is_taken(kind: type[TlsEngine]) -> None:
    engine, client = connected(kind, SSL.TLS1_3_VERSION)
    text = random.Random(7).randbytes(RECORD_BYTES)
    for _ in range(20):
        engine.connection.send(text)
    client.engine.feed(engine.take())
    assert b"".join(client.engine.read() for _ in range(20)) == text * 20


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ENGINES)
def test_each_side_closes_for_itself(kind: type[TlsEngine], version: int) -> None:
    engine, client = connected(kind, version)
    client.connection.send(b"last words")
    client.engine.shut_down()
    engine.feed(client.engine.take())
    assert engine.read() == b"last words"
    for _ in range(2):
        with pytest.raises(PeerClosed):
            engine.read()
    engine.connection.send(b"still talking")
    engine.shut_down()
    client.engine.feed(engine.take())
    assert client.engine.read() == b"still talking"
    with pytest.raises(PeerClosed):
        client.engine.read()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ENGINES)
def test_a_changed_byte_is_an_error_and_leaves_an_alert(
    kind: type[TlsEngine], version: int
) -> None:
    engine, client = connected(kind, version)
    client.connection.send(b"pay 10")
    sent = bytearray(client.engine.take())
    sent[-1] ^= 1
    engine.feed(bytes(sent))
    with pytest.raises(SSL.Error):
        engine.read()
    alert = engine.take()
    assert alert
    client.engine.feed(alert)
    with pytest.raises(SSL.Error, match="bad record mac"):
        client.engine.read()
    with pytest.raises(SSL.Error):
        engine.encrypt(b"on")
    with pytest.raises(SSL.Error):
        engine.encrypt(b"on" * RECORD_BYTES)


@pytest.mark.parametrize("kind", ENGINES)
def test_another_engine_works_on_after_one_has_failed(kind: type[TlsEngine]) -> None:
    broken, _ = connected(kind, SSL.TLS1_3_VERSION)
    engine, client = connected(kind, SSL.TLS1_3_VERSION)
    broken.feed(b"\x17\x03\x03\x00\x40" + bytes(64))
    with pytest.raises(SSL.Error):
        broken.read()
    client.connection.send(b"hello")
    engine.feed(client.engine.take())
    assert engine.read() == b"hello"
    assert engine.read() == b""


records = st.lists(
    st.builds(
        lambda kind, body: bytes([kind, 3, 3]) + len(body).to_bytes(2, "big") + body,
        st.sampled_from([20, 21, 22, 23]),
        st.binary(max_size=300),
    ),
    max_size=8,
)


@given(records, st.data())
def test_records_are_counted_when_their_last_byte_comes(
    parts: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(parts)
    ends, at = set(), 0
    for part in parts:
        at += len(part)
        ends.add(at)
    counter, at = RecordCounter(), 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        expected = sum(at < end <= at + size for end in ends)
        assert counter.feed(stream[at : at + size]) == expected
        at += size


@given(records)
def test_records_are_counted_byte_by_byte(parts: list[bytes]) -> None:
    counter = RecordCounter()
    assert sum(counter.feed(bytes([byte])) for byte in b"".join(parts)) == len(parts)
