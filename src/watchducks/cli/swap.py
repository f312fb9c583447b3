"""`watchducks swap`: make the installed version the one that runs, without a failed request.

Two colours, ``watchducks@blue.service`` and ``watchducks@green.service``, share the sockets that
systemd holds, and the data. One of them runs; which one is what is enabled::

    blue runs  ->  green is given a copy of the installed version, and starts beside blue
               ->  green is ready, and proves it through doors of its own
               ->  green is enabled instead of blue
               ->  blue accepts nothing more, lets end what is under way, ships its rows, stops

Until green has proven itself nothing has changed for blue; if it does not, green is stopped, blue
goes on, and the exit code is 1. Each colour runs its own copy (hard links, which cost nothing), so
that a process never meets modules of another version, whatever is installed meanwhile.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from watchducks import settings as settings_module
from watchducks.cli import local, proof
from watchducks.cli.common import CommandError, Parents
from watchducks.cli.systemd import Systemd, Units
from watchducks.demo.command import say
from watchducks.instances import control_file

if TYPE_CHECKING:
    from watchducks.cli.common import Commands

COLOURS: Final = ("blue", "green")
TARGET: Final = "watchducks.target"
# Where the units look for each colour's copy.
HOME: Final = Path("/opt/watchducks")
_LOCK: Final = Path("/run/watchducks-swap.lock")
# systemd calls it ready when it says so. Then it has this long to do its work as well.
PROOF_SECONDS: Final = 30.0
# For so long at a stretch, and by the same process, because one answer may be luck, and a version
# that dies by its first visitors or its first timers shall do so while the old one is still there.
PROBATION_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.2
# For what workers without a keeper have under way: nearly all requests take less.
LEFT_SECONDS: Final = 2.0
# Of the failed colour's log: enough for the line that says why.
_LOG_LINES: Final = 15


def unit_of(colour: str) -> str:
    return f"watchducks@{colour}.service"


@dataclass(frozen=True, slots=True)
class Plan:
    """:ivar starts: the colour that will run.
    :ivar stops: the colours that run now; the first one is what is being taken over from.
    """

    starts: str
    stops: tuple[str, ...]


def plan(active: tuple[str, ...], enabled: tuple[str, ...], *, back: bool = False) -> Plan:
    """Return what a swap has to do.

    With both active, an earlier swap was broken off: the enabled one is the one that counts, and
    the other is stopped first, to be started anew.

    :param back: the other colour has what is wanted, and so takes over also from one that is not
        active, because it has failed.
    """
    chosen = next((colour for colour in enabled if colour in active), None)
    current = chosen or (active[0] if active else None)
    if current is None and back and enabled:
        current = enabled[0]
    if current is None:
        return Plan(enabled[0] if enabled else COLOURS[0], ())
    other = next(colour for colour in COLOURS if colour != current)
    return Plan(other, (current, *(colour for colour in active if colour != current)))


def add(commands: Commands, parents: Parents) -> None:
    parser = commands.add_parser(
        "swap",
        parents=[parents.configured],
        help="make the installed version the running one, without a failed request",
        description="Start the installed version beside the running one, on the same sockets; when"
        " it has proven itself, let the old one end what it has under way, and stop it. If it does"
        " not become ready, the old one goes on and the exit code is 1. Needs root, and the units"
        " of systemd/.",
    )
    parser.add_argument(
        "--back",
        action="store_true",
        help="start the other colour as it is, with the version before, instead of the installed"
        " one",
    )
    parser.set_defaults(at_once=_swap)


def main() -> None:
    """The console script ``watchducks-swap``."""
    from watchducks.cli.command import main as run  # noqa: PLC0415 -- it imports this module

    run(["swap", *sys.argv[1:]])


def _swap(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise CommandError("swap: only root may start and stop units")
    settings = settings_module.find(options.config)
    source = Path(sys.prefix)
    if source in {HOME / colour for colour in COLOURS}:
        raise CommandError(f"swap: {source} is what runs; call the watchducks that was installed")
    server = settings.nameserver.names[0] if settings.nameserver.names else ""
    with _alone():
        Swap(
            Systemd(),
            stage=lambda colour: (
                find_staged(HOME / colour) if options.back else stage(source, HOME / colour)
            ),
            ask=lambda colour: local.ask(control_file(settings.node.data_dir, colour)),
            prove=lambda told: proof.prove(told, server),
        ).run(back=options.back)
    return 0


@contextmanager
def _alone() -> Iterator[None]:
    """:raises CommandError: another swap is under way."""
    with _LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError("swap: another swap is under way") from None
        yield


def stage(source: Path, target: Path) -> None:
    """Make ``target`` a copy of the virtualenv ``source``, by hard links where that is possible.

    Whoever installs another version writes new files, so that the linked ones stay as they are.

    :raises CommandError: it cannot be made; what was there before may be gone.
    """
    new = target.with_name(f"{target.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(source, new, symlinks=True, copy_function=_link)
        shutil.rmtree(target, ignore_errors=True)
        new.rename(target)
    except OSError as error:
        raise CommandError(f"swap: cannot copy {source} to {target}: {error}") from error


def find_staged(target: Path) -> None:
    """:raises CommandError: no version was ever there."""
    if not target.is_dir():
        raise CommandError(f"swap: there is nothing in {target} to go back to")


def _link(source: str, target: str) -> str:
    try:
        # Not through links: the virtualenv's python is one.
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
    return target


class Swap:
    """One swap. What it does to the world comes in, so that its order can be tested."""

    def __init__(
        self,
        units: Units,
        *,
        stage: Callable[[str], None],
        ask: Callable[[str], dict[str, Any]],
        prove: Callable[[dict[str, Any]], None],
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        """:param stage: gives a colour its copy of the installed version.
        :param ask: returns what a colour says of itself, or raises OSError.
        :param prove: raises NotProven unless it does its work.
        """
        self._units = units
        self._stage = stage
        self._ask = ask
        self._prove = prove
        self._now = now
        self._pause = pause or _wait

    def run(self, *, back: bool = False) -> None:
        """Do it all. :raises CommandError: it was not done, and what ran before still runs."""
        active = tuple(c for c in COLOURS if self._units.is_active(unit_of(c)))
        enabled = tuple(c for c in COLOURS if self._units.is_enabled(unit_of(c)))
        todo = plan(active, enabled, back=back)
        began = self._now()
        for leftover in todo.stops[1:]:
            say(f"{leftover} was left over by an earlier swap; it is stopped first")
            self._end(leftover)
        self._stage(todo.starts)
        try:
            version = self._start(todo.starts, alone=not todo.stops)
        except BaseException:
            self._end(todo.starts)
            self._units.do("reset-failed", unit_of(todo.starts))
            raise
        self._units.do("enable", unit_of(todo.starts))
        for colour in COLOURS:
            if colour != todo.starts:
                self._units.do("disable", unit_of(colour))
        if todo.stops:
            say(f"{todo.starts} ({version}) has taken over; {todo.stops[0]} lets its last end")
            if not self._end(todo.stops[0]):
                raise CommandError(
                    f"swap: {todo.stops[0]} does not stop well; {todo.starts} serves. See"
                    f" journalctl -u {unit_of(todo.stops[0])}"
                )
        say(f"{todo.starts} runs version {version}, after {self._now() - began:.0f} s")

    def _end(self, colour: str) -> bool:
        """Stop a colour, and its workers if it has died without them; most often nobody is left."""
        unit = unit_of(colour)
        stopped = self._units.do("stop", unit)
        if self._units.do("kill", "--signal=TERM", unit):
            self._pause(LEFT_SECONDS)
            self._units.do("kill", "--signal=KILL", unit)
        return stopped

    def _start(self, colour: str, *, alone: bool) -> str:
        """Start a colour and wait until it has proven itself; return its version."""
        say(f"starting {colour}")
        # One that has failed too often would not be started again.
        self._units.do("reset-failed", unit_of(colour))
        if alone:  # then the sockets may not be there either
            self._units.do("enable", unit_of(colour))
            self._units.do("start", TARGET)
        if not self._units.do("start", unit_of(colour)):
            raise CommandError(self._why(colour, "does not start"))
        return self._proven(colour)

    def _proven(self, colour: str) -> str:
        """Return its version when it has done its work for a while, the same process all along."""
        until = self._now() + PROOF_SECONDS
        process = since = None
        while True:
            try:
                told = self._ask(colour)
                self._prove(told)
            except (OSError, proof.NotProven) as error:
                since = None
                if self._now() > until or not self._units.is_active(unit_of(colour)):
                    died = process is not None and self._now() <= until
                    what = "was ready, and died" if died else "is started, but does not work"
                    raise CommandError(self._why(colour, f"{what} ({error})")) from error
            else:
                process = process or told["pid"]
                if told["pid"] != process:
                    raise CommandError(self._why(colour, "was ready, and died"))
                since = self._now() if since is None else since
                if self._now() >= since + PROBATION_SECONDS:
                    return str(told.get("version"))
            self._pause(_PAUSE_SECONDS)

    def _why(self, colour: str, what: str) -> str:
        log = self._units.journal(unit_of(colour), _LOG_LINES).strip()
        return f"swap: {colour} {what}, and is stopped; what ran goes on. Its log ends:\n{log}"


def _wait(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251 -- a command without a reactor, and nothing to wait on
