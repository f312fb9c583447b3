"""Sockets that were there before us: found by name, by index, and handed on."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from watchducks.sockets import Inherited, NoSuchSocket, Sockets, by_kind, inherited_descriptors


class Given:
    """:ivar tcp, udp: sockets that somebody else bound."""

    def __init__(self) -> None:
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.inherited = [
            Inherited(self.tcp.fileno(), "http"),
            Inherited(self.tcp.fileno(), "dns"),
            Inherited(self.udp.fileno(), "dns"),
        ]


@pytest.fixture
def given() -> Iterator[Given]:
    made = Given()
    yield made
    made.tcp.close()
    made.udp.close()


def where(found: list[socket.socket] | None) -> list[tuple[socket.SocketKind, int]]:
    assert found is not None
    try:
        return [(one.type, one.getsockname()[1]) for one in found]
    finally:
        for one in found:
            one.close()


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("systemd:http", ["tcp"]),
        ("systemd:name=http", ["tcp"]),
        ("systemd:domain=INET:name=http", ["tcp"]),
        ("systemd:domain=INET:index=0", ["tcp"]),
        ("systemd:index=2", ["udp"]),
        ("systemd:dns", ["tcp", "udp"]),
    ],
)
def test_a_text_stands_for_descriptors(given: Given, text: str, kinds: list[str]) -> None:
    taken = where(Sockets(inherited=given.inherited).take(text))
    expected = {
        "tcp": (socket.SOCK_STREAM, given.tcp.getsockname()[1]),
        "udp": (socket.SOCK_DGRAM, given.udp.getsockname()[1]),
    }
    assert taken == [expected[kind] for kind in kinds]
    assert given.tcp.getsockname(), "the original stays open"


def test_copies_are_told_apart_by_kind(given: Given) -> None:
    found = Sockets(inherited=given.inherited).take("systemd:dns")
    assert found is not None
    streams, datagrams = by_kind(found)
    assert (len(streams), len(datagrams)) == (1, 1)
    assert where(datagrams) == [(socket.SOCK_DGRAM, given.udp.getsockname()[1])]
    where(streams)


@pytest.mark.parametrize("text", ["systemd:https", "systemd:domain=INET:index=7"])
def test_what_is_missing_is_said(given: Given, text: str) -> None:
    with pytest.raises(NoSuchSocket, match="only http, dns, dns"):
        Sockets(inherited=given.inherited).take(text)
    with pytest.raises(NoSuchSocket, match="none"):
        Sockets(inherited=[]).take(text)


def test_a_name_of_datagrams_only_is_no_place_for_streams(given: Given) -> None:
    sockets = Sockets(inherited=[Inherited(given.udp.fileno(), "http")])
    with pytest.raises(NoSuchSocket, match="streams are wanted"):
        sockets.streams("systemd:http", reactor=None)


def test_what_is_not_bound_is_left_to_the_caller(given: Given) -> None:
    sockets = Sockets({"tcp:80": [given.tcp]}, inherited=given.inherited)
    assert sockets.take("tcp:443") is None
    assert where(sockets.take("tcp:80")) == [(socket.SOCK_STREAM, given.tcp.getsockname()[1])]


def test_the_environment_tells_names_in_order() -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "3", "LISTEN_FDNAMES": "http:dns"}
    assert inherited_descriptors(environ) == (
        Inherited(3, "http"),
        Inherited(4, "dns"),
        Inherited(5, ""),
    )


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},  # they are another process's
        {"LISTEN_PID": str(os.getpid())},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "-1"},
    ],
)
def test_nothing_was_inherited(environ: dict[str, str]) -> None:
    assert inherited_descriptors(environ) == ()


def test_this_process_was_not_started_by_systemd() -> None:
    assert inherited_descriptors() == ()
