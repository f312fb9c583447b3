"""An instance's own doors: reserved, in the settings, and nobody else's."""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Iterator

import pytest

from watchducks.instances import LOOPBACK, Doors
from watchducks.settings import ROLES, Settings, parse


@pytest.fixture
def doors() -> Iterator[Doors]:
    made = Doors(ROLES)
    yield made
    made.close()


@pytest.fixture
def settings() -> Settings:
    return parse(
        tomllib.loads(
            '[proxy]\naddresses = ["203.0.113.10"]\nhttp = ["systemd:http"]\n'
            '[nameserver]\nnames = ["ns1.watchducks.example"]\n'
        )
    )


def test_each_role_has_doors(doors: Doors, settings: Settings) -> None:
    found = doors.in_settings(settings)
    ports = doors.ports
    assert found.proxy.http == ("systemd:http", f"tcp:{ports['http']}:interface=127.0.0.1")
    assert found.proxy.https[1:] == (f"tcp:{ports['https']}:interface=127.0.0.1",)
    assert found.nameserver.listen[2:] == (f"tcp:{ports['dns']}:interface=127.0.0.1",)
    assert len(set(ports.values())) == 3


def test_who_is_alone_has_none(settings: Settings) -> None:
    doors = Doors(())
    assert doors.in_settings(settings) == settings


def test_a_port_is_kept_for_who_names_it(doors: Doors) -> None:
    with socket.socket() as listening, socket.socket() as stranger:
        with pytest.raises(OSError, match="in use"):
            stranger.bind((LOOPBACK, doors.ports["http"]))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, doors.ports["http"]))
        listening.listen()
