"""Play mutated packets through the name server's responder: ``fuzz_dns.py [PACKETS [SEED]]``.

Exits with 1 and the first problems if there are any; says how many packets a second it played.
"""

from __future__ import annotations

import secrets
import sys
import time
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "src")]

from tests.wire.dns_fuzzing import Outcome, fuzz  # noqa: E402 - found by the path above

# Packets between two lines of output: a few seconds.
_STEP_PACKETS: Final = 50_000
_SHOWN_PROBLEMS: Final = 5


def main(arguments: list[str]) -> int:
    """Play as many packets as asked for; return the exit code."""
    packets = int(arguments[0]) if arguments else 1_000_000
    seed = int(arguments[1]) if len(arguments) > 1 else secrets.randbits(32)
    began = time.monotonic()
    played = 0
    while played < packets:
        outcome: Outcome = fuzz(min(_STEP_PACKETS, packets - played), seed)
        played += outcome.packets
        rate = played / (time.monotonic() - began)
        sys.stdout.write(
            f"{played:,} of {packets:,} packets, {rate:,.0f} a second; of the last, seed {seed}:"
            f" {outcome.silent:,} without a response, {outcome.with_records:,} with records, by"
            f" response code {dict(sorted(outcome.rcodes.items()))},"
            f" {len(outcome.problems)} problems\n"
        )
        sys.stdout.flush()
        if outcome.problems:
            sys.stdout.write("\n\n".join(outcome.problems[:_SHOWN_PROBLEMS]) + "\n")
            return 1
        seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
