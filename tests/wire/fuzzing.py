"""Mutated requests and answers through the whole path in memory, judged by another parser.

Used by the tests with some thousand inputs and by ``bench/fuzz_http.py`` with as many as one likes.
The judge is llhttp: whatever we send on must be, to it, whole messages and nothing else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserInvalidURLError,
    HttpParserUpgrade,
    HttpRequestParser,
    HttpResponseParser,
)

from tests.wire.world import World

SEEDS = [
    b"GET /a?b=c HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: x\r\nCookie: a=b\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST / HTTP/1.1\r\nHost: www.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4;x=y\r\nabcd\r\n0\r\nA: b\r\n\r\n",
    b"HEAD http://www.example.com/ HTTP/1.0\r\nHost: www.example.com\r\n"
    b"Connection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: www.example.com:80\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: www.example.com\r\nX-Forwarded-For: 1.2.3.4\r\n"
    b"CDN-Loop: x\r\nExpect: 100-continue\r\n\r\n",
]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nuntil the end",
]
# What parsers disagree about.
_TOKENS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\0", b"\x0b", b":", b";", b",", b"0", b"-1",
    b"0x", b"ffffffffffffffff", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\n", b"Host: www.example.com\r\n", b"\xff", b"\x7f", b"HTTP/1.1",
    b"GET /smuggled HTTP/1.1\r\nHost: www.example.com\r\n\r\n", b"Connection: close\r\n",
    b"Upgrade: websocket\r\n", b"_", b"chunked", b"0\r\n\r\n",
]  # fmt: skip


def mutate(chance: random.Random, data: bytes) -> bytes:
    """Return ``data`` with a few changes."""
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0:
            data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + chance.choice(_TOKENS) + data[at:]
        elif kind == 2:
            data = data[:at] + data[at + chance.randrange(1, 6) :]
        elif kind == 3:
            end = at + chance.randrange(1, 40)
            data = data[:end] + data[at:end] + data[end:]
        elif kind == 4:
            data = data[:at] + chance.choice(_TOKENS) + data[at + chance.randrange(1, 4) :]
        else:
            data = data[:at] + chance.choice(SEEDS)[: chance.randrange(60)] + data[at:]
    return data


@dataclass
class Outcome:
    """What became of the inputs so far; the counts show that the fuzzing reaches all of it."""

    inputs: int = 0
    answered: int = 0
    refused: int = 0
    forwarded: int = 0
    bad_answers: int = 0
    problems: list[str] = field(default_factory=list)


class _Count:
    """Callbacks of the judge: how many messages began."""

    def __init__(self) -> None:
        self.messages = 0

    def on_message_begin(self) -> None:
        self.messages += 1


def messages_sent(data: bytes) -> int:
    """Return how many requests ``data`` is, to llhttp; the last one may be incomplete. -1: it
    cannot tell.

    :raises HttpParserError: it is not requests.
    """
    count = _Count()
    parser = HttpRequestParser(count)
    try:
        parser.feed_data(data)
    except HttpParserUpgrade:
        pass
    except (HttpParserInvalidMethodError, HttpParserInvalidURLError):
        return -1  # there are more methods than it knows, and 8-bit targets as nginx passes them
    return count.messages


def one_round(chance: random.Random, outcome: Outcome) -> None:
    """Send a mutated input, let the origin answer, perhaps badly, and judge all that came out."""
    world = World()
    outcome.inputs += 1
    pieces = _pieces(chance)
    sent = b"".join(pieces)
    try:
        _play(chance, world, pieces, outcome)
        _judge(world, sent, outcome)
    except Exception as error:  # whatever it is, it is what we are looking for
        outcome.problems.append(f"{type(error).__name__}: {error}; sent {sent!r}")


def _pieces(chance: random.Random) -> list[bytes]:
    """Return one to four messages, most of them mutated, as they are delivered."""
    if chance.random() < 0.3:  # messages one by one, and again with small differences
        again = chance.choice(SEEDS)
        line, _, rest = again.partition(b"\r\n")
        others = (
            mutate(chance, again)
            if chance.random() < 0.5
            else mutate(chance, line[:-9]) + line[-9:] + b"\r\n" + rest
            for _ in range(chance.randrange(1, 4))
        )
        return [again, *others]
    sent = b"".join(
        mutate(chance, chance.choice(SEEDS)) if chance.random() < 0.8 else chance.choice(SEEDS)
        for _ in range(chance.randrange(1, 4))
    )
    pieces = []
    while sent:
        step = len(sent) if chance.random() < 0.5 else chance.randrange(1, 20)
        pieces.append(sent[:step])
        sent = sent[step:]
    return pieces


def _play(chance: random.Random, world: World, pieces: list[bytes], outcome: Outcome) -> None:
    for piece in pieces:
        world.receive(piece)
        # Answer all that has been asked for, up to three requests.
        for _ in range(3):
            before = len(world.rows)
            for origin, transport in world.origins:
                answer = chance.choice(ANSWERS)
                if chance.random() < 0.2:
                    answer = mutate(chance, answer)
                    outcome.bad_answers += 1
                if transport.value() and not transport.disconnected:
                    origin.dataReceived(answer)
            world.receive(b"")
            if len(world.rows) == before:
                break


def _judge(world: World, sent: bytes, outcome: Outcome) -> None:
    for _, transport in world.origins:
        count = messages_sent(transport.value())
        outcome.forwarded += max(0, count)
        head_count = transport.value().count(b"CDN-Loop: watchducks\r\n")
        if count >= 0 and count > head_count:
            raise AssertionError(f"the origin saw {count} requests, we sent {head_count}")
    answer = world.transport.value()
    if answer.startswith(b"HTTP/1.1 400 "):
        outcome.refused += 1
    elif answer:
        outcome.answered += 1
    # The judge is not told which answers are to HEAD.
    if answer and b"HEAD " not in sent:
        try:
            HttpResponseParser(_Count()).feed_data(answer)
        except (HttpParserError, HttpParserUpgrade) as error:
            raise AssertionError(f"the visitor got {answer!r}: {error}") from error


def fuzz(inputs: int, seed: int) -> Outcome:
    """Play ``inputs`` rounds; the same ``seed`` plays the same ones."""
    chance = random.Random(seed)
    outcome = Outcome()
    for _ in range(inputs):
        one_round(chance, outcome)
    return outcome
