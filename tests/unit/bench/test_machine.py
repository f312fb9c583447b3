"""What a process and those below it have used."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from bench.machine import (
    BenchmarkError,
    cpu_seconds,
    first_thread_cpu_seconds,
    program,
    resident_bytes,
)

# Works for 0.2 s in a thread and for 0.2 s in a child that stays, then says so and waits.
BUSY = """
import subprocess, sys, threading, time
def work():
    while time.thread_time() < 0.2: pass
thread = threading.Thread(target=lambda: (work(), time.sleep(60)), daemon=True)
thread.start()
child = "import time\\nwhile time.thread_time() < 0.2: pass\\nprint(flush=True)\\ninput()"
kept = b"x" * 50_000_000
below = subprocess.Popen(
    [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
)
below.stdout.readline()
print(flush=True)
input()
"""


def test_all_threads_and_children_count() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 20
        # Two parts of 0.2 s, each rounded down to the tick of 10 ms.
        while cpu_seconds(process.pid) < 0.38:
            assert time.monotonic() < deadline
        assert first_thread_cpu_seconds(process.pid) < cpu_seconds(process.pid) - 0.3
        assert resident_bytes(process.pid) > 50_000_000
        process.kill()


def test_missing_program_says_how_to_get_it() -> None:
    with pytest.raises(BenchmarkError, match=r"^no-such-duck is not installed \(scripts/install"):
        program("no-such-duck")
