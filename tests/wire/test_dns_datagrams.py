"""Questions by UDP on real sockets, with the stock reactor and with ours."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.epollreactor import EPollReactor

from tests.reactor.turning import Turning
from watchducks.nameserver.datagrams import (
    MAX_DATAGRAMS,
    MAX_QUERY_OCTETS,
    QuestionSocket,
    bound_udp,
)
from watchducks.reactor import FastEPollReactor


class Echo:
    """Answers with the client's address and the question in upper case.

    :ivar answered: the questions, in order. :ivar on_question: called for each.
    """

    def __init__(self) -> None:
        self.answered: list[bytes] = []
        self.on_question: Callable[[], object] = lambda: None

    def respond(self, data: bytes, host: str = "", *, datagram: bool) -> bytes | None:
        assert datagram
        self.answered.append(data)
        self.on_question()
        return None if data == b"silence" else host.encode() + b" " + data.upper()


@pytest.fixture(params=[EPollReactor, FastEPollReactor], ids=["stock", "ours"])
def turning(request: pytest.FixtureRequest) -> Iterator[Turning]:
    turning = Turning(request.param())
    yield turning
    turning.close()


class Listening:
    def __init__(self, turning: Turning, interface: str) -> None:
        self.echo = Echo()
        self.socket = QuestionSocket(self.echo, bound_udp(0, interface), reactor=turning.reactor)
        self.port = self.socket.getHost().port


@pytest.fixture
def listen(turning: Turning) -> Iterator[Callable[[str], Listening]]:
    open_: list[Listening] = []

    def listen(interface: str) -> Listening:
        try:
            open_.append(Listening(turning, interface))
        except OSError as error:
            if ":" not in interface:
                raise
            pytest.skip(f"no IPv6 on this machine: {error}")
        return open_[-1]

    yield listen
    for listening in open_:
        listening.socket.stopListening()


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.settimeout(5)
        yield client


Listen = Callable[[str], Listening]


@pytest.mark.parametrize("interface", ["127.0.0.1", ""])
def test_an_answer_to_whoever_asked(
    turning: Turning, listen: Listen, client: socket.socket, interface: str
) -> None:
    listening = listen(interface)
    for question in (b"silence", b"quack"):
        client.sendto(question, ("127.0.0.1", listening.port))
    turning.until(lambda: len(listening.echo.answered) == 2)
    assert client.recvfrom(100) == (b"127.0.0.1 QUACK", ("127.0.0.1", listening.port))
    assert listening.socket.getHost() == IPv4Address("UDP", interface or "0.0.0.0", listening.port)


@pytest.mark.parametrize("interface", ["", "0.0.0.0", "::"])
@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.2", "127.1.2.3"])
def test_bound_to_every_address_it_answers_from_the_one_that_was_asked(
    turning: Turning, listen: Listen, client: socket.socket, interface: str, asked: str
) -> None:
    listening = listen(interface)
    client.sendto(b"quack", (asked, listening.port))
    turning.until(lambda: listening.echo.answered)
    _, source = client.recvfrom(100)
    assert source == (asked, listening.port)


@pytest.mark.parametrize("interface", ["::1", "::"])
def test_ipv6(turning: Turning, listen: Listen, interface: str) -> None:
    listening = listen(interface)
    assert isinstance(listening.socket.getHost(), IPv6Address)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"six", ("::1", listening.port))
        turning.until(lambda: listening.echo.answered)
        data, source = client.recvfrom(100)
    assert (data, source[:2]) == (b"::1 SIX", ("::1", listening.port))


def test_one_event_reads_a_bounded_batch(
    turning: Turning, listen: Listen, client: socket.socket
) -> None:
    listening = listen("127.0.0.1")
    for number in range(MAX_DATAGRAMS + 10):
        client.sendto(b"%d" % number, ("127.0.0.1", listening.port))
    turning.turn()
    assert len(listening.echo.answered) == MAX_DATAGRAMS
    turning.until(lambda: len(listening.echo.answered) == MAX_DATAGRAMS + 10)
    assert [int(data) for data in listening.echo.answered] == list(range(MAX_DATAGRAMS + 10))


@pytest.mark.parametrize("interface", ["127.0.0.1", ""])
def test_a_port_that_answers_everything_gets_no_answer(
    turning: Turning, listen: Listen, client: socket.socket, interface: str
) -> None:
    listening = listen(interface)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as chargen:
        try:
            chargen.bind(("127.0.0.1", 19))
        except PermissionError:
            pytest.skip("port 19 needs root")
        chargen.sendto(b"loop", ("127.0.0.1", listening.port))
    client.sendto(b"quack", ("127.0.0.1", listening.port))
    turning.until(lambda: listening.echo.answered)
    assert listening.echo.answered == [b"quack"]


def test_a_forged_source_that_cannot_be_reached_is_not_the_others_business(
    turning: Turning, listen: Listen, client: socket.socket
) -> None:
    """A response larger than a datagram can be is refused by the kernel, as those are."""
    listening = listen("127.0.0.1")
    sent = [b"127.0.0.1 " + bytes(70_000), b"fine"]
    listening.echo.respond = lambda *_, **__: sent.pop(0)  # type: ignore[method-assign]
    for _ in range(2):
        client.sendto(b"quack", ("127.0.0.1", listening.port))
    turning.until(lambda: not sent)
    assert client.recv(100) == b"fine"
    assert not turning.errors


def test_what_is_longer_than_a_question_is_cut(
    turning: Turning, listen: Listen, client: socket.socket
) -> None:
    listening = listen("127.0.0.1")
    client.sendto(bytes(9_000), ("127.0.0.1", listening.port))
    turning.until(lambda: listening.echo.answered)
    assert listening.echo.answered == [bytes(MAX_QUERY_OCTETS)]


def test_stopping_lets_go_of_everything_also_in_the_middle_of_a_batch(
    turning: Turning, listen: Listen, client: socket.socket
) -> None:
    before = turning.reactor.getReaders()
    listening = listen("127.0.0.1")
    assert turning.reactor.getReaders() != before
    listening.echo.on_question = listening.socket.stopListening
    for _ in range(3):
        client.sendto(b"quack", ("127.0.0.1", listening.port))
    turning.until(lambda: listening.echo.answered)
    assert turning.reactor.getReaders() == before
    assert len(listening.echo.answered) == 1
    assert not turning.errors
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", listening.port))


def test_the_receive_buffer_is_as_large_as_the_kernel_allows(
    turning: Turning, listen: Listen
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as usual:
        default = usual.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    mine = listen("127.0.0.1").socket._socket
    assert mine.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= default


def test_a_port_that_is_taken_leaves_nothing_open(turning: Turning, listen: Listen) -> None:
    before = turning.reactor.getReaders()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="in use"):
            bound_udp(other.getsockname()[1], "127.0.0.1")
    assert turning.reactor.getReaders() == before
