"""What a host lacks: ports that are taken, resolvers that are silent; not what is its own."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.servers.ports import free_port
from watchducks.instances import control_file
from watchducks.preflight_host import hints
from watchducks.settings import Settings, parse

# The discard port, where nobody resolves.
NOBODY = "127.0.0.1:9"


def settings(data_dir: Path, http: str, listen: str) -> Settings:
    return parse(
        {
            "node": {"data_dir": str(data_dir), "resolvers": [NOBODY]},
            "proxy": {"addresses": ["203.0.113.10"], "http": [http], "https": ["systemd:https"]},
            "nameserver": {"names": ["ns1.watchducks.example"], "listen": [listen]},
            "console": {"http": [f"tcp:{free_port('tcp')}:interface=127.0.0.1"]},
        }
    )


def of_key(found: list[str], key: str) -> list[str]:
    return [line for line in found if line.startswith(key)]


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_port_that_another_program_has(tmp_path: Path, kind: str) -> None:
    type_ = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, type_) as other:
        other.bind(("127.0.0.1", 0))
        if kind == "tcp":
            other.listen()
        taken = f"{kind}:{other.getsockname()[1]}:interface=127.0.0.1"
        free = f"tcp:{free_port('tcp')}:interface=127.0.0.1"
        key = "proxy.http: " if kind == "tcp" else "nameserver.listen: "
        chosen = (taken, free) if kind == "tcp" else (free, taken)
        found = hints(settings(tmp_path, *chosen))
    (line,) = of_key(found, "proxy.") + of_key(found, "nameserver.listen")
    assert line.startswith(f"{key}{taken}: another program has the port: ss ")


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    found = hints(settings(tmp_path, "tcp:8080:interface=203.0.113.99", "systemd:dns"))
    (line,) = of_key(found, "proxy.http")
    assert "is the address this host's?" in line


def test_a_running_appliance_has_its_ports(tmp_path: Path) -> None:
    path = control_file(tmp_path, "blue")
    path.parent.mkdir(parents=True)
    with socket.socket() as other, socket.socket(socket.AF_UNIX) as control:
        other.bind(("127.0.0.1", 0))
        other.listen()
        control.bind(str(path))
        control.listen()
        taken = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
        assert of_key(hints(settings(tmp_path, taken, "systemd:dns")), "proxy.http") == []
        control.close()
        # What it left when it was killed says nothing.
        assert len(of_key(hints(settings(tmp_path, taken, "systemd:dns")), "proxy.http")) == 1


def test_resolvers_that_say_nothing(tmp_path: Path) -> None:
    found = hints(settings(tmp_path, "systemd:http", "systemd:dns"))
    (line,) = of_key(found, "node.resolvers")
    assert "no recursive resolver answers" in line
