"""The child process in which chDB lives: ``python -m watchducks.stores.chdb_server DIRECTORY``.

Frames (:mod:`watchducks.stores.chdb_frames`) come in on descriptor 0 and go out on 3; 1 and 2 are
left to whatever native code prints. Statements run one after the other, each for a limited time.
The process ends when descriptor 0 is closed, hence also when its parent dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from watchducks.stores.chdb_frames import (
    FAILED,
    GREETING_ID,
    INSERT,
    NO_PACKAGE,
    RESULT,
    Frames,
    frame,
    split_insert,
)

IN, OUT = 0, 3
DATABASE = "watchducks"

# What the pipe of the questions holds, and one read of it: the most that Linux gives to any user.
# A block of rows has some megabytes, and each filling of the pipe is a turn of the other's reactor.
PIPE_BYTES = 1024 * 1024

# A statement may take so long; a page cannot wait longer, and an insert takes milliseconds.
STATEMENT_SECONDS = 30

# Beyond this a result is an error: it would be a question that no page of ours asks.
RESULT_BYTES = 32 * 1024 * 1024

# Statements under way when the parent is gone or stops us get this long.
END_SECONDS = 5.0

# The child of an appliance that was just killed needs a moment to notice that it is orphaned.
LOCK_SECONDS = END_SECONDS + 3
_LOCK_POLL_SECONDS = 0.1

Question = tuple[int, int, bytes]


def main(directory: Path) -> int:
    """Serve until descriptor 0 is closed; return the exit code."""
    # Ctrl-C and systemd's stop reach the whole group: rows are still to come then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.umask(0o077)
    with contextlib.suppress(OSError):  # a smaller one will do
        fcntl.fcntl(IN, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    questions: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(questions,), daemon=True).start()
    try:
        import chdb  # noqa: PLC0415  it takes seconds, and may be missing
    except ImportError as error:
        _send(GREETING_ID, NO_PACKAGE, str(error).encode())
        return 1
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock(directory / "watchducks.lock")
        connection: Any = chdb.connect(str(directory))  # type: ignore[no-untyped-call]
        for statement in (
            f"CREATE DATABASE IF NOT EXISTS {DATABASE}",
            f"USE {DATABASE}",
            f"SET max_execution_time = {STATEMENT_SECONDS}",
            f"SET max_result_bytes = {RESULT_BYTES}",
        ):
            connection.query(statement)
        version = connection.query("SELECT version()", "TabSeparatedRaw").bytes()
    except Exception as error:
        _send(GREETING_ID, FAILED, str(error).encode("utf-8", "replace"))
        return 1
    _send(GREETING_ID, RESULT, version)
    while (question := questions.get()) is not None:
        _answer(connection, *question)
    connection.close()
    os.close(lock)
    return 0


def _read(questions: queue.SimpleQueue[Question | None]) -> None:
    """Read frames until the other side is gone. Runs in a thread of its own."""
    frames = Frames()
    while data := os.read(IN, PIPE_BYTES):
        for question in frames.feed(data):
            questions.put(question)
    questions.put(None)
    # The main thread ends by itself, unless it is inside a statement for too long. What chDB has
    # acknowledged is safe: its files are complete before it answers.
    time.sleep(END_SECONDS)  # noqa: TID251  a thread of a process without reactor
    os._exit(0)


def _lock(path: Path) -> int:
    """Lock the directory for this process. :raises BlockingIOError: another has it for long."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise BlockingIOError(f"another process uses {path.parent}") from None
            time.sleep(_LOCK_POLL_SECONDS)  # noqa: TID251  a process without reactor
        else:
            return fd


def _answer(connection: Any, id_: int, kind: int, payload: bytes) -> None:
    try:
        if kind == INSERT:
            statement, block = split_insert(payload)
            inserter = connection.send_insert(statement, "Native")
            try:
                inserter.append(block)
                inserter.finish()
            finally:
                inserter.close()
            result = b""
        else:
            result = connection.query(payload.decode(), "JSONCompactEachRow").bytes()
    except Exception as error:
        _send(id_, FAILED, str(error).encode("utf-8", "replace"))
    else:
        _send(id_, RESULT, result)


def _send(id_: int, kind: int, payload: bytes) -> None:
    data = memoryview(frame(id_, kind, payload))
    try:
        while data:
            data = data[os.write(OUT, data) :]
    except BrokenPipeError:
        os._exit(0)  # nobody listens any more


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
