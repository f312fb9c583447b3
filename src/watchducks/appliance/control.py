"""How this instance is, told to whoever is this host's administrator.

A UNIX socket in ``data_dir/run`` that only the appliance's own user, and root, can open. Each
connection gets one JSON document and is closed; nothing is read from it, so there is nothing to get
wrong. ``watchducks status`` and ``watchducks swap`` read it.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from watchducks import __version__
from watchducks.appliance.house import House
from watchducks.model.metrics import Kind, Sample

# Who asks takes what he gets at once; a few tools may ask at the same time.
_BACKLOG: Final = 16
_MODE: Final = 0o600


class _Told(Protocol):
    def __init__(self, tell: Callable[[], bytes]) -> None:
        self._tell = tell

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._tell())
        self.transport.loseConnection()


class Control:
    """The socket. A Part: the first to start and the last to stop, so that it can tell of both.

    Without it everything else works: a folder that cannot be written costs a line in the log.
    """

    _log = Logger()

    def __init__(
        self, house: House, path: Path, *, instance: str, doors: Mapping[str, int], now: float
    ) -> None:
        """:param doors: see :class:`watchducks.instances.Doors`.
        :param now: POSIX seconds at the start.
        """
        self._house = house
        self._path = path
        self._constant: dict[str, Any] = {
            "instance": instance,
            "node": house.settings.node.name,
            "roles": list(house.settings.node.roles),
            "version": __version__,
            "python": platform.python_version(),
            "pid": os.getpid(),
            "since": datetime.fromtimestamp(int(now), UTC).isoformat().replace("+00:00", "Z"),
            "doors": dict(doors),
        }
        self._port: IListeningPort | None = None
        self._folder: int | None = None

    async def start(self) -> None:
        """Listen, in place of an earlier run of the same instance."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            # The address of a UNIX socket holds 107 octets; by way of its folder it is short.
            self._folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            factory = Factory.forProtocol(lambda: _Told(self._told))
            factory.noisy = False
            self._port = self._house.reactor.listenUNIX(
                f"/proc/self/fd/{self._folder}/{self._path.name}",
                factory,
                backlog=_BACKLOG,
                mode=_MODE,
            )
        except (OSError, CannotListenError) as error:
            self._log.warn(
                "nobody can ask how this instance is: {path}: {error}",
                path=str(self._path),
                error=str(error),
            )

    async def stop(self) -> None:
        port, self._port = self._port, None
        if port is not None:  # which also removes the socket's file, by way of the folder
            await port.stopListening()  # type: ignore[misc]
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def _told(self) -> bytes:
        return json.dumps(self.status(), ensure_ascii=False).encode() + b"\n"

    def status(self) -> dict[str, Any]:
        """Return how this instance is, as JSON has it."""
        measures = {
            _series(sample): sample.value
            for sample in self._house.samples()
            if sample.kind is not Kind.HISTOGRAM  # a hundred numbers that only a program reads
        }
        process = {
            "descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
            "threads": threading.active_count(),
            "timers": len(self._house.reactor.getDelayedCalls()),
        }
        return {
            **self._constant,
            "process": process,
            "checks": dict(self._house.checks()),
            "measures": measures,
            **self._house.reports(),
        }


def _series(sample: Sample) -> str:
    """Return the name of one value, with its labels as Prometheus writes them."""
    labels = ",".join(f"{label}={json.dumps(value)}" for label, value in sample.labels)
    return f"{sample.name}{{{labels}}}" if labels else sample.name
