"""What NSD answers with the same zones is what we answer, but for differences on purpose."""

from __future__ import annotations

import secrets

from tests.servers.nsd import Nsd
from tests.wire.dns_oracle import Oracle

# Some ten seconds; `python -m bench.oracle_dns 100 5000` asks more.
ROUNDS = 3
QUESTIONS = 2_000


def test_we_answer_as_nsd_does(nsd: Nsd) -> None:
    truncated = referrals = chains = 0
    for _ in range(ROUNDS):
        # A new seed each run finds what the last one did not; the message says how to repeat it.
        seed = secrets.randbits(32)
        outcome = Oracle(nsd, seed).compare(QUESTIONS)
        assert not outcome.problems, f"seed {seed}: {outcome.problems[0]}"
        # Else it would prove nothing.
        assert outcome.questions == QUESTIONS
        assert set(outcome.rcodes) >= {0, 3, 5}
        assert min(outcome.rcodes[rcode] for rcode in (0, 3, 5)) > QUESTIONS // 20
        truncated += outcome.truncated
        referrals += outcome.referrals
        chains += outcome.chains
    assert truncated > ROUNDS
    assert referrals > ROUNDS
    assert chains > ROUNDS
