"""``twistd watchducks``: options in, service out.

Nothing of a role is imported here before :func:`makeService`: twistd chooses the reactor while it
reads its options, and a module that touched the global reactor earlier would choose for it.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python import usage

from watchducks import settings as settings_module
from watchducks.background import StartupError, Tasks
from watchducks.instances import NAME
from watchducks.reactor import install_if_none
from watchducks.settings import Settings, SettingsError
from watchducks.supervision import Supervisor

if TYPE_CHECKING:
    from watchducks.appliance import Appliance
    from watchducks.appliance.house import Reactor


class Options(usage.Options):
    """The options of ``twistd watchducks``."""

    synopsis = "[--config FILE] [--instance NAME]"
    longdesc = (
        "The WatchDucks appliance: authoritative name server, reverse proxy and console in one"
        " process, or any of them (node.roles). Without --config it reads"
        " /etc/watchducks/watchducks.toml, or, if there is none, runs on loopback with embedded"
        " stores in ./var. `watchducks check --config FILE` tells whether a file is right."
    )
    optParameters = [  # noqa: RUF012 -- an attribute that Twisted defines
        ["config", "c", None, "The configuration file (TOML)."],
        ["instance", "i", "", "Its name among several on the same data and sockets (for a swap)."],
    ]
    document: dict[str, Any]
    settings: Settings

    def postOptions(self) -> None:
        """Read the settings; wrong ones end the program with one line for each wrong key."""
        if self["instance"] and not NAME.fullmatch(self["instance"]):
            sys.stderr.write(
                f"watchducks: --instance={self['instance']}: accepted are at most 31 small letters,"
                " digits and '-', beginning with a letter\n"
            )
            raise SystemExit(1)
        try:
            self.read()
        except SettingsError as error:
            # Not usage.UsageError: twistd would print two screens of its own help before the line.
            for problem in error.problems:
                sys.stderr.write(f"watchducks: {problem}\n")
            raise SystemExit(1) from None
        # twistd has read its own options by now: --reactor has had its say, and nothing of ours has
        # imported the reactor yet.
        install_if_none()

    def read(self) -> None:
        """Read the configuration, now.

        :raises SettingsError: with one line for each wrong key; what was read before stays.
        """
        path = self["config"]
        document = settings_module.find_document(Path(path) if path else None)
        self.settings = settings_module.parse(document)
        self.document = document


def makeService(options: Options) -> IService:
    """Return the appliance as a service; called by twistd, once."""
    from twisted.internet import reactor

    from watchducks.appliance import Appliance

    chosen = cast("Reactor", reactor)
    supervisor = Supervisor.of_environment(os.environ, clock=chosen)
    appliance = Appliance(
        options.settings, chosen, instance=options["instance"], document=options.document
    )
    return ApplianceService(appliance, supervisor, options, chosen)


class ApplianceService(Service):
    """Carries the appliance's asynchronous start and stop into Twisted's service model.

    A start that fails stops the reactor and makes the process end with exit code 1.
    """

    def __init__(
        self, appliance: Appliance, supervisor: Supervisor, options: Options, reactor: Reactor
    ) -> None:
        self.name = "watchducks"
        self._appliance = appliance
        self._supervisor = supervisor
        self._options = options
        self._reloads = Tasks(Logger())
        self._reloading = self._reload_again = False
        self._reactor = reactor
        self._log = Logger()
        self._starting: Deferred[None] | None = None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        # Not before the reactor runs: a failed start has to stop it, which cannot work earlier.
        self._reactor.callWhenRunning(self._start)

    def _start(self) -> None:
        self._supervisor.start()
        self._starting = Deferred.fromCoroutine(self._started())

    async def _started(self) -> None:
        try:
            await self._appliance.start()
            signal.signal(signal.SIGHUP, self._hang_up)
            self._supervisor.ready(self._appliance.describe())
        except CancelledError:
            return  # stopped while starting
        except StartupError as error:
            self._fail(str(error))
        except Exception as error:
            self._log.failure("the start failed")
            self._fail(f"unexpected {type(error).__name__}: {error} (the log has the details)")

    def _hang_up(self, _signal: int, _frame: object) -> None:
        self._reactor.callFromThread(self._reload)

    def _reload(self) -> None:
        """Read the configuration again; once more afterwards, if that is under way."""
        self._reload_again = self._reloading
        if not self._reloading:
            self._reloading = True
            self._reloads.start(self._reloaded(), "reading the configuration again")

    async def _reloaded(self) -> None:
        self._supervisor.reloading()
        before = self._options.settings, self._options.document
        try:
            self._options.read()
            await self._appliance.reload(self._options.settings, self._options.document)
        except (SettingsError, StartupError) as error:
            self._options.settings, self._options.document = before
            self._log.error("the configuration stays as it was: {error}", error=str(error))
        finally:
            self._reloading = False
            self._supervisor.ready(self._appliance.describe())
        if self._reload_again:
            self._reload()

    def _fail(self, line: str) -> None:
        self._log.critical("cannot start: {line}", line=line)
        if sys.__stderr__ is not None:  # sys.stderr itself is twistd's log by now
            sys.__stderr__.write(f"watchducks: {line}\n")
        # twistd knows no exit code once its reactor ran, so it is set at the very end.
        atexit.register(_exit_with, 1)
        self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        result = super().stopService()  # type: ignore[no-untyped-call]
        assert result is None
        return Deferred.fromCoroutine(self._stopped())

    async def _stopped(self) -> None:
        if self._starting is not None and not self._starting.called:
            self._starting.cancel()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        await self._reloads.stop()
        self._supervisor.stopping("letting what is under way end")
        await self._appliance.stop()
        self._supervisor.stop()


def _exit_with(code: int) -> Any:
    for stream in (sys.stdout, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(code)
