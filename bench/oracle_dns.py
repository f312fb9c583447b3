"""Ask NSD and us about the same random zones: ``-m bench.oracle_dns [ROUNDS [QUESTIONS [SEED]]]``.

Each round makes new zones. Exits with 1 and the first answers that differ without a reason.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.servers.nsd import Nsd
from tests.wire.dns_oracle import Oracle

_SHOWN_PROBLEMS: Final = 3


def main(arguments: list[str]) -> int:
    """Play as many rounds as asked for; return the exit code."""
    rounds, questions, seed = (
        int(given) if given else default
        for given, default in zip(
            [*arguments, "", "", ""], (100, 5_000, secrets.randbits(32)), strict=False
        )
    )
    with tempfile.TemporaryDirectory() as directory:
        nsd = Nsd(Path(directory))
        try:
            for played in range(rounds):
                outcome = Oracle(nsd, seed + played).compare(questions)
                sys.stdout.write(
                    f"seed {seed + played}: {outcome.questions:,} questions, by response code"
                    f" {dict(sorted(outcome.rcodes.items()))}; {outcome.referrals} referrals,"
                    f" {outcome.chains} chains, {outcome.truncated} truncated;"
                    f" {len(outcome.problems)} problems\n"
                )
                sys.stdout.flush()
                if outcome.problems:
                    sys.stdout.write("\n\n".join(outcome.problems[:_SHOWN_PROBLEMS]) + "\n")
                    return 1
        finally:
            if nsd.running:
                nsd.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
