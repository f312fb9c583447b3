"""The steps of ``watchducks demo``: configuration, origin, ``twistd watchducks``, registration."""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import treq
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from watchducks.demo.authority import Authority, write_private
from watchducks.demo.origin import AnyName, make_site
from watchducks.settings import embedded

SITE = "demo"
DOMAIN = "demo.test"
# Tells our appliance from that of another demo.
NODE = f"demo-{os.getpid()}"
# Not 127.0.0.1: with an address of its own, DNS shows whether it leads to the proxy or the origin.
ORIGIN_ADDRESS = "127.0.0.2"
# The embedded store is up in 3 s on one idle core; a busy laptop takes several times that.
START_SECONDS = 90.0
# Where Debian, Fedora and Alpine keep the system's certificate authorities.
_SYSTEM_CAS = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/cert.pem"),
)


class DemoError(Exception):
    """The demo cannot go on; the text is the line for the person who started it."""


@dataclass(frozen=True)
class Ports:
    """Where everything listens: the usual port, or a free one where that is taken."""

    http: int
    https: int
    dns: int
    console: int
    origin: int
    origin_tls: int

    @classmethod
    def choose(cls) -> Ports:
        local = "127.0.0.1"
        return cls(
            http=_free(local, 8080),
            https=_free(local, 8443),
            dns=_free(local, 5300),
            console=_free(local, 8000),
            origin=_free(ORIGIN_ADDRESS, 8081),
            origin_tls=_free(ORIGIN_ADDRESS, 8444),
        )


def _free(address: str, preferred: int) -> int:
    """Return ``preferred`` if both TCP and UDP are free there, else a port that is."""
    for port in (preferred, 0, 0, 0, 0, 0):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        ):
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                stream.bind((address, port))
                chosen = int(stream.getsockname()[1])
                datagram.bind((address, chosen))
            except OSError:
                continue
            return chosen
    raise DemoError(f"no free port at {address}: end what listens there, or reboot")


class _Twistd(ProcessProtocol):
    """The appliance's process.

    :ivar exit_code: None while it runs.
    """

    # A stop ships what is spooled and closes the stores, which takes a few seconds at most.
    _STOP_SECONDS = 20.0

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._waiting: list[Deferred[int]] = []
        self._asked_to_end = False
        self.exit_code: int | None = None

    def processEnded(self, reason: Failure) -> None:
        # twistd ends by the very signal that it was stopped with, and then has no exit code.
        code = getattr(reason.value, "exitCode", None)
        self.exit_code = int(not self._asked_to_end) if code is None else int(code)
        for waiting in self._waiting:
            if not waiting.called:
                waiting.callback(self.exit_code)

    async def ended(self) -> int:
        """Wait for the end and return the exit code."""
        if self.exit_code is not None:
            return self.exit_code
        waiting: Deferred[int] = Deferred()
        self._waiting.append(waiting)
        return await waiting

    async def end(self) -> None:
        """Stop it as systemd would, and wait, so that nothing is left behind."""
        if self.exit_code is None and self.transport is not None:
            self._asked_to_end = True
            self.transport.signalProcess("TERM")
            late = self._reactor.callLater(
                self._STOP_SECONDS, lambda: self.transport.signalProcess("KILL")
            )
            await self.ended()
            if late.active():
                late.cancel()


async def run(reactor: Any, directory: Path) -> int:
    """Run the demo until Ctrl-C or until the appliance ends; return the appliance's exit code.

    :param directory: absolute; made if it is missing.
    :raises DemoError: it could not be started.
    """
    ports = Ports.choose()
    authority = Authority(directory)
    _certificate_of_the_site(authority, directory)
    config = directory / "watchducks.toml"
    write_private(config, _toml(_document(directory, ports)).encode())

    site = make_site(reactor)
    reactor.listenTCP(ports.origin, site, interface=ORIGIN_ADDRESS)
    reactor.listenSSL(ports.origin_tls, site, AnyName(authority), interface=ORIGIN_ADDRESS)
    say("Starting twistd -n watchducks ...")
    twistd = _start_twistd(reactor, config, directory)
    # Ctrl-C, SIGTERM and our own end all come through here.
    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: Deferred.fromCoroutine(twistd.end())
    )
    await _ready(reactor, twistd, ports)
    await _register(ports)
    say(_what_to_try(directory, ports))
    return await twistd.ended()


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _certificate_of_the_site(authority: Authority, directory: Path) -> None:
    folder = directory / "certificates" / SITE
    chain, key = authority.issue([DOMAIN, f"www.{DOMAIN}"])
    write_private(folder / "privkey.pem", key)
    write_private(folder / "fullchain.pem", chain)
    # What the proxy trusts: everybody the system trusts, and the demo's own origin.
    system = next((path.read_bytes() for path in _SYSTEM_CAS if path.exists()), b"")
    (directory / "trusted.pem").write_bytes(system + authority.certificate_path.read_bytes())


def _document(directory: Path, ports: Ports) -> dict[str, dict[str, Any]]:
    document = embedded(directory)
    document["node"]["name"] = NODE
    # The demo's domain is nobody's: the public DNS need not be asked about it.
    document["node"]["resolvers"] = ["127.0.0.1:9"]
    here = "interface=127.0.0.1"
    document["proxy"]["http"] = [f"tcp:{ports.http}:{here}"]
    document["proxy"]["https"] = [f"tcp:{ports.https}:{here}"]
    document["nameserver"]["listen"] = [f"udp:{ports.dns}:{here}", f"tcp:{ports.dns}:{here}"]
    document["console"] = {
        "http": [f"tcp:{ports.console}:{here}"],
        "url": f"http://127.0.0.1:{ports.console}",
    }
    document["security"]["allow_private_origins"] = True
    return document


def _toml(document: dict[str, dict[str, Any]]) -> str:
    """Write tables of strings, booleans and lists of strings; JSON spells these as TOML does."""
    lines = ["# Written anew by `watchducks demo` at each start."]
    for table, values in document.items():
        lines.append(f"[{table}]")
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in values.items())
    return "\n".join(lines) + "\n"


def _start_twistd(reactor: Any, config: Path, directory: Path) -> _Twistd:
    protocol = _Twistd(reactor)
    # A process group of its own, so that Ctrl-C reaches it once, through us, and not twice.
    program = "import os; os.setpgid(0, 0); from twisted.scripts.twistd import run; run()"
    command = [
        sys.executable,
        *("-c", program),
        "--nodaemon",
        f"--pidfile={directory / 'twistd.pid'}",
        f"--logfile={directory / 'watchducks.log'}",
        "watchducks",
        f"--config={config}",
    ]
    environment = dict(os.environ, SSL_CERT_FILE=str(directory / "trusted.pem"))
    reactor.spawnProcess(
        protocol, sys.executable, command, env=environment, childFDs={0: 0, 1: 1, 2: 2}
    )
    return protocol


async def _ready(reactor: IReactorTime, twistd: _Twistd, ports: Ports) -> None:
    """Wait until the appliance, and not another that was quicker to take the ports, is ready."""
    deadline = reactor.seconds() + START_SECONDS
    while reactor.seconds() < deadline:
        if twistd.exit_code is not None:
            raise DemoError("the appliance did not start; its last line says why")
        try:
            health = await _json(f"http://127.0.0.1:{ports.http}/.well-known/watchducks/health")
            ready = await _json(f"http://127.0.0.1:{ports.console}/readyz")
            if health["node"] == NODE and ready["status"] == "ok":
                return
        except (ConnectError, ResponseFailed, KeyError, ValueError):
            pass  # it does not listen yet
        await task.deferLater(reactor, 0.1)
    raise DemoError(f"the appliance was not ready within {START_SECONDS:.0f} s; see its log")


async def _json(url: str) -> Any:
    response = await treq.get(url, timeout=5, persistent=False)
    return await response.json()


async def _register(ports: Ports) -> None:
    """Register the site as any owner would, unless an earlier run did."""
    url = f"http://127.0.0.1:{ports.console}/api/v1/sites"
    existing = await treq.get(f"{url}/{SITE}", persistent=False)
    await existing.content()
    if existing.code == 200:
        return
    response = await treq.post(
        url,
        json={
            "name": SITE,
            "domain": f"www.{DOMAIN}",
            "origin": f"http://{ORIGIN_ADDRESS}:{ports.origin}",
            "email": f"owner@{DOMAIN}",
            "cohort": "demo",
        },
        persistent=False,
    )
    body = await response.text()
    if response.code != 201:
        raise DemoError(f"the demo's site could not be registered: {body[:500]}")


def _what_to_try(directory: Path, ports: Ports) -> str:
    where = os.path.relpath(directory)
    www = f"www.{DOMAIN}"
    http, https = f"{www}:{ports.http}", f"{www}:{ports.https}"
    console = f"http://127.0.0.1:{ports.console}"
    return f"""
WatchDucks runs, with a demo origin and the registered site "{SITE}". Try:

  DNS      dig @127.0.0.1 -p {ports.dns} {www}
  HTTP     curl --resolve {http}:127.0.0.1 http://{http}/
  HTTPS    curl --cacert {where}/ca.pem --resolve {https}:127.0.0.1 https://{https}/
  Charts   {console}/sites/{SITE}
  Another  {console}/register   with the domain ducks.test and the origin
           http://{ORIGIN_ADDRESS}:{ports.origin} or https://{ORIGIN_ADDRESS}:{ports.origin_tls}

The log is {where}/watchducks.log, the configuration {where}/watchducks.toml. Ctrl-C stops it.
"""
