"""Play mutated requests and answers through the proxy in memory: ``fuzz_http.py [INPUTS [SEED]]``.

Exits with 1 and the first problems if there are any; says how many inputs a second it played.
"""

from __future__ import annotations

import secrets
import sys
import time
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "src")]

from tests.wire.fuzzing import Outcome, fuzz  # noqa: E402 - found by the path above

# Rounds between two lines of output: a few seconds.
_STEP_INPUTS: Final = 20_000
_SHOWN_PROBLEMS: Final = 5


def main(arguments: list[str]) -> int:
    """Play as many inputs as asked for; return the exit code."""
    inputs = int(arguments[0]) if arguments else 1_000_000
    seed = int(arguments[1]) if len(arguments) > 1 else secrets.randbits(32)
    began = time.monotonic()
    played = 0
    while played < inputs:
        outcome: Outcome = fuzz(min(_STEP_INPUTS, inputs - played), seed)
        played += outcome.inputs
        rate = played / (time.monotonic() - began)
        sys.stdout.write(
            f"{played:,} of {inputs:,} inputs, {rate:,.0f} a second; of the last, seed {seed}:"
            f" {outcome.answered:,} answered, {outcome.refused:,} refused,"
            f" {outcome.forwarded:,} requests forwarded, {len(outcome.problems)} problems\n"
        )
        sys.stdout.flush()
        if outcome.problems:
            sys.stdout.write("\n\n".join(outcome.problems[:_SHOWN_PROBLEMS]) + "\n")
            return 1
        seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
