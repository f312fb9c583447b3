"""The real `twistd watchducks`, and what its visitors use: curl and dig."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.servers.ports import free_port
from tests.servers.process import ServerProcess, find_program

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


def run(*command: str | Path, seconds: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without a terminal."""
    return subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def curl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run curl; its exit code tells connection and certificate errors apart."""
    return run(find_program("curl"), "--silent", "--show-error", "--max-time", "10", *arguments)


def curl_through(
    proxy: tuple[str, int], url: str, *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """Ask for ``url`` as if DNS had answered with ``proxy``; the port is the URL's own."""
    host = url.split("/")[2].rpartition(":")[0]
    return curl("--resolve", f"{host}:{proxy[1]}:{proxy[0]}", *arguments, url)


def dig(port: int, *question: str) -> list[str]:
    """Return the short answers of our name server."""
    found = run(find_program("dig"), "@127.0.0.1", "-p", str(port), "+short", "+tries=1", *question)
    return found.stdout.split()


def api(method: str, url: str, body: object = None, token: str | None = None) -> tuple[int, Any]:
    """Make one call of the JSON API; return its status and its decoded body."""
    request = urllib.request.Request(url, method=method)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            content = response.read()
            return response.status, json.loads(content) if content else None
    except urllib.error.HTTPError as error:
        with error:
            content = error.read()
        return error.code, json.loads(content) if content else None


class Twistd(ServerProcess):
    """`twistd -n watchducks --config ...` with ports of its own.

    :ivar ports: name (http, https, dns, console) -> port on 127.0.0.1.
    :ivar options: more options of twistd's own.
    """

    name = "twistd watchducks"

    def __init__(
        self, directory: Path, settings: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """:param settings: section -> key -> value, over the defaults for a test on loopback."""
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(directory)
        self.ports = {name: free_port() for name in ("http", "https", "dns", "console")}
        self.data_dir = directory / "data"
        self.config = directory / "watchducks.toml"
        self.options: list[str] = []
        self._settings = settings or {}

    def document(self) -> dict[str, dict[str, Any]]:
        """Return the configuration."""
        port, here = self.ports, "interface=127.0.0.1"
        document: dict[str, dict[str, Any]] = {
            "node": {
                "name": "test",
                "data_dir": str(self.data_dir),
                # The discard port, where nobody resolves: nothing leaves this machine.
                "resolvers": ["127.0.0.1:9"],
            },
            "proxy": {
                "http": [f"tcp:{port['http']}:{here}"],
                "https": [f"tcp:{port['https']}:{here}"],
                "addresses": ["127.0.0.1"],
            },
            "nameserver": {
                "listen": [f"udp:{port['dns']}:{here}", f"tcp:{port['dns']}:{here}"],
                "names": ["ns1.watchducks.example", "ns2.watchducks.example"],
            },
            "console": {
                "http": [f"tcp:{port['console']}:{here}"],
                "url": f"http://127.0.0.1:{port['console']}",
            },
            # No parent delegates what the tests register, unless they have one of their own.
            "security": {"allow_private_origins": True, "require_delegation": False},
        }
        for section, values in self._settings.items():
            document.setdefault(section, {}).update(values)
        return document

    def change(self, section: str, values: Mapping[str, Any]) -> None:
        """Give keys other values, from the next :meth:`write_config` on."""
        self._settings = {
            **self._settings,
            section: {**self._settings.get(section, {}), **values},
        }

    def write_config(self) -> Path:
        """Write the configuration file and return its path."""
        lines: list[str] = []
        for section, values in self.document().items():
            tables = {key: value for key, value in values.items() if isinstance(value, dict)}
            lines.append(f"[{section}]")
            lines += [f"{k} = {json.dumps(v)}" for k, v in values.items() if k not in tables]
            for key, table in tables.items():
                lines.append(f"[{section}.{key}]")
                lines += [f"{k} = {json.dumps(v)}" for k, v in table.items()]
        self.config.write_text("\n".join(lines) + "\n")
        return self.config

    def command(self) -> list[str]:
        self.write_config()
        return [
            str(BIN / "twistd"),
            "--nodaemon",
            f"--pidfile={self.directory / 'twistd.pid'}",
            *self.options,
            "watchducks",
            f"--config={self.config}",
        ]

    def answers(self) -> bool:
        roles = self.document()["node"].get("roles", ["console"])
        if "console" in roles:
            path = f"http://127.0.0.1:{self.ports['console']}/readyz"
        elif "proxy" not in roles:
            server = "ns1.watchducks.example"
            return f"{server}." in dig(self.ports["dns"], server, "SOA")
        else:
            path = f"http://127.0.0.1:{self.ports['http']}/.well-known/watchducks/health"
        return curl("--fail", "--output", os.devnull, path).returncode == 0

    @property
    def console(self) -> str:
        return f"http://127.0.0.1:{self.ports['console']}"

    @property
    def proxy(self) -> tuple[str, int]:
        return "127.0.0.1", self.ports["http"]

    def fails_to_start(self, seconds: float = 40) -> tuple[int, str]:
        """Run it although it should not work; return its exit code and what it said on stderr."""
        found = subprocess.run(
            self.command(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            cwd=self.directory,
        )
        return found.returncode, found.stderr
