"""What systemd is told of us: ready, alive, stopping (sd_notify(3)).

Datagrams of ``KEY=value`` lines to the socket that ``NOTIFY_SOCKET`` names. Without one, which is
to say without a unit of Type=notify, nothing is sent and nothing is different.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

# Of the watchdog's patience, how much passes between two signs of life: the half of it that
# sd_watchdog_enabled(3) recommends, so that one may be late.
_BEATS_PER_WATCHDOG: Final = 2
# systemd shows one line; longer ones are cut off by who prints them.
_STATUS_CHARACTERS: Final = 200


class Supervisor:
    """Tells the service manager how this process is, by datagrams that never wait.

    A manager that does not take one is not waited for either: the next sign of life tells as much.
    The signs of life are calls of the reactor, so that a reactor that hangs gives none.
    """

    _log = Logger()

    def __init__(
        self,
        address: str = "",
        watchdog_seconds: float = 0.0,
        *,
        clock: IReactorTime,
        monotonic_us: Callable[[], int] | None = None,
    ) -> None:
        """:param address: a path, or ``@`` and a name in the abstract namespace; "": nobody.

        :param watchdog_seconds: how long the manager waits for a sign of life; 0: for ever.
        :param monotonic_us: CLOCK_MONOTONIC in microseconds, as systemd reads it.
        """
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._beat_seconds = watchdog_seconds / _BEATS_PER_WATCHDOG
        self._clock = clock
        self._monotonic_us = monotonic_us or _monotonic_us
        self._socket: socket.socket | None = None
        self._beat: IDelayedCall | None = None
        self._complained = False

    @classmethod
    def of_environment(
        cls, environ: MutableMapping[str, str], *, clock: IReactorTime
    ) -> Supervisor:
        """Return what the environment asks for, and take it out: it is not meant for the processes
        that we start."""
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "")
        if not microseconds.isdigit() or pid not in ("", str(os.getpid())):
            microseconds = "0"
        return cls(address, int(microseconds) / 1e6, clock=clock)

    def start(self) -> None:
        """Begin with the signs of life; before this process is ready, as it must not hang then."""
        if self._address and self._beat_seconds and self._beat is None:
            self._alive()

    def _alive(self) -> None:
        self._send("WATCHDOG=1")
        self._beat = self._clock.callLater(self._beat_seconds, self._alive)

    def ready(self, status: str) -> None:
        """Everything listens and can answer; also after :meth:`reloading`."""
        self._send("READY=1", f"MAINPID={os.getpid()}", _status(status))

    def reloading(self) -> None:
        """The configuration is read again; :meth:`ready` follows, whatever comes of it."""
        self._send(
            "RELOADING=1",
            f"MONOTONIC_USEC={self._monotonic_us()}",
            _status("reading the configuration again"),
        )

    def status(self, text: str) -> None:
        """Show ``text`` in ``systemctl status``."""
        self._send(_status(text))

    def stopping(self, status: str) -> None:
        """No more is accepted; the signs of life go on until :meth:`stop`."""
        self._send("STOPPING=1", _status(status))

    def stop(self) -> None:
        """Send nothing more."""
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._address = ""

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            if self._socket is None:
                self._socket = socket.socket(
                    socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
                )
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._complained:  # once: a sign of life is due every few seconds
                self._complained = True
                self._log.warn("systemd cannot be told how we are: {error}", error=str(error))


def _status(text: str) -> str:
    # A line end would begin another assignment.
    return f"STATUS={' '.join(text.split())[:_STATUS_CHARACTERS]}"


def _monotonic_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
