"""The world of an ACME order: a board in memory, and a name server that answers from it."""

from __future__ import annotations

from collections.abc import Iterable

import dns.message
import dns.rdatatype

from tests.wire.dns_answering import AnsweringServer, answer
from watchducks.model.challenges import DNS_LABEL, Answers, Challenge


class MemoryBoard:
    """:ivar posted: all that was ever posted. :ivar answers: what hangs there now."""

    def __init__(self) -> None:
        self.answers = Answers()
        self.posted: list[Challenge] = []
        self.hanging: set[Challenge] = set()

    async def post(self, challenge: Challenge) -> None:
        self.posted.append(challenge)
        self.hanging.add(challenge)
        self.answers.replace(self.hanging)

    async def take_down(self, challenge: Challenge) -> None:
        self.hanging.discard(challenge)
        self.answers.replace(self.hanging)


def answer_challenges(server: AnsweringServer, board: MemoryBoard, *dead: str) -> None:
    """Have ``server`` say that every name is here, and what hangs on ``board``.

    :param dead: names of which it knows nothing.
    """

    def script(query: dns.message.Message) -> Iterable[bytes]:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        if name.removeprefix(f"{DNS_LABEL}.") in dead:
            return [answer(query)]
        if question.rdtype == dns.rdatatype.A:
            return [answer(query, "@ 60 A 127.0.0.1")]
        if question.rdtype != dns.rdatatype.TXT or not name.startswith(f"{DNS_LABEL}."):
            return [answer(query)]
        texts = board.answers.texts(name.removeprefix(f"{DNS_LABEL}."))
        return [answer(query, *(f'@ 60 TXT "{text}"' for text in texts))]

    server.by_udp = server.by_tcp = script
