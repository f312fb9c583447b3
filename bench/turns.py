"""An appliance whose reactor notes how long its turns take.

``python bench/turns.py FILE OPTION...``

The options are twistd's. At its end FILE has a line for each turn of a millisecond and more: when
it ended (the machine's monotonic clock), what it took, and how much of that its thread had a core,
which on a busy machine says more; all in seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

_ROOT: Final = Path(__file__).resolve().parent.parent
# Without this folder, which Python puts there: it has a dns.py.
_OTHERS: Final = [path for path in sys.path if path != str(_ROOT / "bench")]
sys.path[:] = [str(_ROOT), str(_ROOT / "src"), *_OTHERS]

from twisted.internet.main import installReactor  # noqa: E402 - found by the path above
from twisted.scripts.twistd import run  # noqa: E402 - found by the path above

from watchducks.reactor.loop import FastEPollReactor  # noqa: E402 - found by the path above

# Shorter ones are what the reactor is for, and a thousand a second.
NOTED_SECONDS: Final = 0.001


class Turn(NamedTuple):
    """A turn of the reactor."""

    ended: float
    took: float
    cpu: float


class _Watched:
    """An epoll object; a turn is what is between two waits for it."""

    def __init__(self, poller: Any, long_turns: list[Turn]) -> None:
        self._poller = poller
        self._long = long_turns
        self._began = self._used = 0.0

    def poll(self, *arguments: Any) -> Any:
        now = time.monotonic()
        if self._began and now - self._began >= NOTED_SECONDS:
            self._long.append(Turn(now, now - self._began, time.thread_time() - self._used))
        found = self._poller.poll(*arguments)
        self._began, self._used = time.monotonic(), time.thread_time()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)


class WatchedReactor(FastEPollReactor):
    """Ours, watched."""

    def __init__(self) -> None:
        super().__init__()
        self.long_turns: list[Turn] = []
        self._poller: Any = _Watched(self._poller, self.long_turns)


def long_turns(file: Path, begin: float, end: float) -> list[Turn]:
    """Return the turns that ended between two moments."""
    found = (Turn(*map(float, line.split())) for line in file.read_text().splitlines())
    return [turn for turn in found if begin <= turn.ended <= end]


def main(file: str, options: list[str]) -> None:
    """Run twistd."""

    reactor = WatchedReactor()
    installReactor(reactor)

    def write() -> None:
        Path(file).write_text(
            "".join(" ".join(map(str, turn)) + "\n" for turn in reactor.long_turns)
        )

    reactor.addSystemEventTrigger("after", "shutdown", write)
    sys.argv = ["twistd", *options]
    run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
