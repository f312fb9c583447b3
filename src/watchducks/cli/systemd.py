"""systemctl, as far as a swap needs it; without a reactor."""

from __future__ import annotations

import subprocess
from typing import Final, Protocol

# A colour that is stopped lets exchanges end for node.drain_seconds; the unit's own times of start
# and stop are shorter than this, so that systemctl comes back by itself.
LONGEST_JOB_SECONDS: Final = 900.0


class Units(Protocol):
    """What a swap does with units. Each call returns when systemd has done it."""

    def is_active(self, unit: str) -> bool: ...

    def is_enabled(self, unit: str) -> bool: ...

    def do(self, verb: str, *units: str) -> bool:
        """Start, stop, enable, disable ...; return whether it was done."""

    def journal(self, unit: str, lines: int) -> str:
        """Return the end of what the unit wrote."""


class Systemd:
    """The systemd of this host."""

    def is_active(self, unit: str) -> bool:
        return self._run("systemctl", "is-active", "--quiet", unit).returncode == 0

    def is_enabled(self, unit: str) -> bool:
        return self._run("systemctl", "is-enabled", "--quiet", unit).returncode == 0

    def do(self, verb: str, *units: str) -> bool:
        return self._run("systemctl", verb, *units).returncode == 0

    def journal(self, unit: str, lines: int) -> str:
        return self._run(
            *("journalctl", "--unit", unit, "--lines", str(lines), "--no-pager", "--output", "cat")
        ).stdout

    @staticmethod
    def _run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 -- programs and units are named by us
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_JOB_SECONDS,
            check=False,
        )
