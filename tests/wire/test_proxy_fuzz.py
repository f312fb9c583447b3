"""Mutated bytes through the request path: nothing breaks, and nothing is smuggled."""

from __future__ import annotations

import secrets

import pytest
from httptools import HttpParserError

from tests.wire.fuzzing import SEEDS, fuzz, messages_sent

# Some seconds; `python bench/fuzz_http.py 1000000` plays more.
INPUTS = 20_000


def test_mutated_requests_and_answers() -> None:
    # A new seed each run finds what the last one did not; the message says how to repeat it.
    seed = secrets.randbits(32)
    outcome = fuzz(INPUTS, seed)
    assert not outcome.problems, f"seed {seed}: {outcome.problems[0]}"
    # Else it would prove nothing.
    assert outcome.inputs == INPUTS
    assert outcome.answered > INPUTS // 10
    assert outcome.refused > INPUTS // 10
    assert outcome.forwarded > INPUTS // 10
    assert outcome.bad_answers > INPUTS // 100


def test_the_judge_sees_a_smuggled_request() -> None:
    assert messages_sent(SEEDS[1]) == 1
    assert messages_sent(SEEDS[1] + SEEDS[0]) == 2
    with pytest.raises(HttpParserError):
        messages_sent(SEEDS[0].replace(b"\r\n\r\n", b"\r\nX : y\r\n\r\n"))
