"""The real `twistd watchducks` with other clocks than the usual ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.system.appliance import BIN, Twistd
from watchducks.appliance.pace import Pace

# `twistd watchducks` at a pace that a test can wait for.
PROGRAM = """\
from watchducks.tap import ApplianceService, Options

options = Options()
options.parseOptions(["--config", {config!r}])

from twisted.application.service import Application
from twisted.internet import reactor
from watchducks.appliance import Appliance
from watchducks.appliance.pace import Pace
from watchducks.notices.crier import Rhythm
from watchducks.supervision import Supervisor

pace = {pace!r}
application = Application("watchducks")
ApplianceService(
    Appliance(options.settings, reactor, document=options.document, pace=pace),
    Supervisor("", 0, clock=reactor),
    options,
    reactor,
).setServiceParent(application)
"""


class PacedTwistd(Twistd):
    """The appliance at another pace."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, Mapping[str, Any]] | None,
        pace: Pace,
    ) -> None:
        super().__init__(directory, settings)
        self._pace = pace

    def command(self) -> list[str]:
        program = self.directory / "paced.tac"
        program.write_text(PROGRAM.format(config=str(self.write_config()), pace=self._pace))
        return [
            str(BIN / "twistd"),
            "--nodaemon",
            "--no_save",
            f"--pidfile={self.directory / 'twistd.pid'}",
            f"--python={program}",
        ]
