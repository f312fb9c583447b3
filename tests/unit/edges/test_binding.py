"""Sockets that are bound once, for several edges."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from watchducks.background import StartupError
from watchducks.edges.binding import Bindings, TcpEndpoint, by_text, parse_tcp
from watchducks.proxy.service import BACKLOG


@pytest.fixture
def bindings() -> Iterator[Callable[..., Bindings]]:
    made: list[Bindings] = []

    def make(edges: int, before: dict[str, list[socket.socket]] | None = None) -> Bindings:
        made.append(Bindings(edges, before or {}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def port_of(one: socket.socket) -> int:
    return int(one.getsockname()[1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp:80", TcpEndpoint(80, "", BACKLOG, socket.AF_INET)),
        ("tcp:port=80:interface=127.0.0.1", TcpEndpoint(80, "127.0.0.1", BACKLOG, socket.AF_INET)),
        ("tcp:80:interface=\\:\\:1:backlog=9", TcpEndpoint(80, "::1", 9, socket.AF_INET6)),
        ("tcp6:443", TcpEndpoint(443, "::", BACKLOG, socket.AF_INET6)),
    ],
)
def test_an_endpoint_is_read_as_twisted_reads_it(text: str, expected: TcpEndpoint) -> None:
    assert parse_tcp(text) == expected


@pytest.mark.parametrize("text", ["ssl:443:privateKey=k", "unix:/x", "tcp:x", "tcp:80:shoe=9"])
def test_other_endpoints_cannot_be_shared(text: str, bindings: Callable[..., Bindings]) -> None:
    with pytest.raises(StartupError, match=r"^proxy\.http: .*with node\.workers accepted is tcp:"):
        bindings(2).open("proxy.http", [text])


def test_streams_are_one_socket_and_datagrams_one_for_each_edge(
    bindings: Callable[..., Bindings],
) -> None:
    texts = ["tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1"]
    bound = bindings(3)
    bound.open("nameserver.listen", texts)
    of_edges = [dict(bound.of(number)) for number in range(3)]
    assert len({edge[texts[0]].fileno() for edge in of_edges}) == 1
    assert len({edge[texts[1]].fileno() for edge in of_edges}) == 3
    assert len({port_of(edge[texts[1]]) for edge in of_edges}) == 1
    # Every question is heard by one of them.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for number in range(30):
            asker.sendto(b"%d" % number, ("127.0.0.1", port_of(of_edges[0][texts[1]])))
    heard = 0
    for edge in of_edges:
        edge[texts[1]].setblocking(False)
        while True:
            try:
                edge[texts[1]].recv(10)
            except BlockingIOError:
                break
            heard += 1
    assert heard == 30


def test_sockets_of_a_keeper_before_are_kept_and_made_to_fit(
    bindings: Callable[..., Bindings],
) -> None:
    texts = ["tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1"]
    before = bindings(2)
    before.open("nameserver.listen", texts)
    pairs = [(text, one.dup()) for number in (0, 1) for text, one in before.of(number)]
    taken = by_text(pairs)  # as two edges hand them over, the TCP socket twice
    assert {text: len(sockets) for text, sockets in taken.items()} == {texts[0]: 1, texts[1]: 2}
    ports = {text: port_of(sockets[0]) for text, sockets in taken.items()}
    more = bindings(3, taken)
    more.open("nameserver.listen", texts)
    assert [{text: port_of(one) for text, one in more.of(number)} for number in range(3)] == (
        [ports] * 3
    )
    fewer = bindings(1, by_text([(t, one.dup()) for n in (0, 1) for t, one in before.of(n)]))
    fewer.open("nameserver.listen", texts)
    assert len(fewer.of(0)) == 2


def test_a_port_that_is_taken_names_key_and_text(bindings: Callable[..., Bindings]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        text = f"tcp:{port_of(other)}:interface=127.0.0.1"
        with pytest.raises(StartupError, match=f"^proxy.http: {text}: cannot listen: Address"):
            bindings(2).open("proxy.http", [text])


def test_what_is_not_wanted_any_more_is_closed(bindings: Callable[..., Bindings]) -> None:
    bound = bindings(1)
    bound.open("proxy.http", ["tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.2"])
    bound.keep_only(["tcp:0:interface=127.0.0.2"])
    assert [text for text, _ in bound.of(0)] == ["tcp:0:interface=127.0.0.2"]
