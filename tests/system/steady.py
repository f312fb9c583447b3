"""Visitors who never pause, and a site's server, as :mod:`bench.steady` has them, for a test."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

ROOT: Final = Path(__file__).parents[2]
# The visitors' last requests, the download among them.
LAST_SECONDS: Final = 60
# For the number of visits that a test wants, beside what it does.
VISIT_SECONDS: Final = 120


def _here(*command: str) -> list[str]:
    return list(command)


class Beside:
    """``python -m bench.steady`` with arguments of its, until its input is closed."""

    def __init__(self, *arguments: str, beside: Callable[..., list[str]] = _here) -> None:
        """:param beside: command -> the command that runs it where the appliance is."""
        self._process = subprocess.Popen(
            beside(sys.executable, "-m", "bench.steady", *arguments),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._line() == b"ready\n"

    def _line(self) -> bytes:
        out: IO[bytes] | None = self._process.stdout
        assert out is not None
        return out.readline()

    def end(self) -> bytes:
        """Let it come to its end, and return what it said last."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        out: IO[bytes] | None = self._process.stdout
        assert out is not None
        try:
            line = out.read().splitlines(keepends=True)[-1:]
            self._process.wait(LAST_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
        return b"".join(line)


class Visitors(Beside):
    """To be used in a ``with``; then :attr:`found` has what they found."""

    found: dict[str, Any]

    def wait_for(self, requests: int, seconds: float = VISIT_SECONDS) -> None:
        """Wait until so many requests were answered, which they say once a second."""
        deadline = time.monotonic() + seconds
        while int(self._line()) < requests:
            assert time.monotonic() < deadline, f"fewer than {requests} requests"

    def __enter__(self) -> Visitors:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        line = self.end()
        if kind is None:
            self.found = json.loads(line)
