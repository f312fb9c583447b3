"""Mutated packets through the responder: a response each, readable, small, and nothing fails."""

from __future__ import annotations

import secrets

import dns.message

from tests.wire.dns_fuzzing import HOST, World, fuzz

# Some seconds; `python bench/fuzz_dns.py 1000000` plays more.
PACKETS = 30_000


def test_mutated_packets() -> None:
    # A new seed each run finds what the last one did not; the message says how to repeat it.
    seed = secrets.randbits(32)
    outcome = fuzz(PACKETS, seed)
    assert not outcome.problems, f"seed {seed}: {outcome.problems[0]}"
    # Else it would prove nothing.
    assert outcome.packets == PACKETS
    assert outcome.with_records > PACKETS // 50
    assert outcome.silent > PACKETS // 500
    assert {0, 1, 3, 4, 5, 16, 23} <= set(outcome.rcodes)


def test_the_questions_to_begin_with_are_answered() -> None:
    world = World()
    for packet in world.seeds:
        response = world.responder.respond(packet, HOST, datagram=True)
        assert response is not None
        assert dns.message.from_wire(response).rcode() in (0, 3, 5, 23)
