"""The courier: what becomes of letters that cannot be written, opened or are too old."""

from __future__ import annotations

import base64
from dataclasses import replace
from email.message import EmailMessage

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.mail.letters import NOW, SENDER, posted
from watchducks.mail.composing import Composer
from watchducks.mail.courier import AT_ONCE, MAX_TAKEN, Courier
from watchducks.model.letters import (
    SEAL_CONTEXT,
    Letter,
    LetterKind,
    LetterState,
    PostedLetter,
    Undeliverable,
)
from watchducks.model.seals import SealError
from watchducks.stores.interfaces import StoreUnavailable


async def nothing_sealed(sealed: bytes, context: bytes) -> bytes:
    """Open seals that nobody made."""
    raise SealError("there is no key")


async def glass(sealed: bytes, context: bytes) -> bytes:
    """Open seals that anybody can open, of the right letter."""
    if context != SEAL_CONTEXT + b"owner@mail.example":
        raise SealError("another letter's")
    return sealed[::-1]


async def a_link(letter: Letter) -> str:
    """Return a link for every letter but reports."""
    if letter.kind is LetterKind.REPORT:
        raise SealError("there is no key")
    return f"{SENDER.url}/letters/code"


class Bag:
    """Letters in memory."""

    def __init__(self, *letters: PostedLetter) -> None:
        self.due = list(letters)
        self.fate: dict[LetterKind, str] = {}

    async def take_due(self, limit: int) -> list[PostedLetter]:
        taken, self.due = self.due[:limit], self.due[limit:]
        return taken

    async def keep_sent(self, posted: PostedLetter) -> None:
        self.fate[posted.letter.kind] = "sent"

    async def keep_failed(
        self, posted: PostedLetter, reason: str, *, final: bool = False
    ) -> LetterState:
        self.fate[posted.letter.kind] = f"{'given up' if final else 'waits'}: {reason}"
        return LetterState.GIVEN_UP if final else LetterState.WAITING


class Wall:
    """Takes messages, but not those about leaving."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []

    async def send(self, message: EmailMessage) -> None:
        if "has left" in str(message["Subject"]):
            raise Undeliverable("550 no")
        self.taken.append(message)


def changed(kind: LetterKind, **changes: object) -> PostedLetter:
    found = posted(kind, "en")
    return replace(found, letter=replace(found.letter, **changes))  # type: ignore[arg-type]


def test_one_letter_that_cannot_be_sent_keeps_no_other() -> None:
    sealed = base64.b64encode(b"terces").decode()
    bag = Bag(
        changed(LetterKind.SPIKE, facts={}),
        changed(LetterKind.DROP, expires=NOW - 1),
        changed(LetterKind.ERRORS, facts={"sealed": "no base64"}),
        changed(LetterKind.SIGN_IN, facts={"sealed": sealed}, expires=NOW + 1),
        changed(LetterKind.MOVED),
        changed(LetterKind.DELEGATED),
    )
    wall, clock = Wall(), Clock()
    clock.rightNow = NOW
    courier = Courier(bag, Composer(SENDER), wall, opens=glass, unsubscribes=a_link, clock=clock)
    courier._turns.start()
    assert bag.fate[LetterKind.DELEGATED] == bag.fate[LetterKind.SIGN_IN] == "sent"
    assert bag.fate[LetterKind.MOVED] == "given up: 550 no"
    assert bag.fate[LetterKind.SPIKE].startswith("waits: cannot be written")
    assert bag.fate[LetterKind.DROP].startswith("given up: nobody wants it")
    assert bag.fate[LetterKind.ERRORS].startswith("waits: a letter's sealed fact")
    assert (courier.sent, courier.failures, courier.given_up) == (2, 4, 2)
    link = wall.taken[0].get_body(("plain",))
    assert link is not None
    assert "/sign-in/secret" in link.get_content()
    assert wall.taken[-1]["List-Unsubscribe"] == f"<{SENDER.url}/letters/code>"


def test_it_counts_what_is_kept_and_leaves_without_complaint() -> None:
    class Slow(Bag):
        """:ivar keeping: a letter that went, until that is kept."""

        def __init__(self) -> None:
            super().__init__(changed(LetterKind.MOVED), changed(LetterKind.DELEGATED))
            self.keeping: list[Deferred[None]] = []

        async def keep_sent(self, posted: PostedLetter) -> None:
            kept: Deferred[None] = Deferred()
            self.keeping.append(kept)
            await kept

    class Taking(Wall):
        async def send(self, message: EmailMessage) -> None:
            self.taken.append(message)

    bag, clock = Slow(), Clock()
    clock.rightNow = NOW
    courier = Courier(
        bag, Composer(SENDER), Taking(), opens=nothing_sealed, unsubscribes=a_link, clock=clock
    )
    courier._turns.start()
    assert (len(bag.keeping), courier.sent) == (2, 0)
    bag.keeping[0].callback(None)
    assert courier.sent == 1
    stopping = Deferred.fromCoroutine(courier.stop())
    assert stopping.called
    assert (courier.sent, courier._turns.failures) == (1, 0)


def test_while_letters_cannot_be_kept_none_is_broken_off_and_none_begun() -> None:
    class Away(Bag):
        async def keep_sent(self, posted: PostedLetter) -> None:
            if posted.letter.kind is LetterKind.MOVED:
                raise StoreUnavailable("no registry")
            await super().keep_sent(posted)

    class Slow(Wall):
        """:ivar talking: messages that the server has not taken yet."""

        def __init__(self) -> None:
            super().__init__()
            self.talking: list[Deferred[None]] = []

        async def send(self, message: EmailMessage) -> None:
            talking: Deferred[None] = Deferred()
            self.talking.append(talking)
            await talking

    letters = [changed(LetterKind.MOVED)] + [changed(LetterKind.DELEGATED)] * (MAX_TAKEN - 1)
    bag, wall, clock = Away(*letters), Slow(), Clock()
    clock.rightNow = NOW
    courier = Courier(
        bag, Composer(SENDER), wall, opens=nothing_sealed, unsubscribes=a_link, clock=clock
    )
    courier._turns.start()
    assert len(wall.talking) == AT_ONCE
    wall.talking[0].callback(None)
    assert not any(talking.called for talking in wall.talking[1:])
    for talking in wall.talking[1:]:
        talking.callback(None)
    assert len(wall.talking) == AT_ONCE
    assert (bag.fate, courier.sent) == ({LetterKind.DELEGATED: "sent"}, AT_ONCE - 1)


def test_a_letter_whose_link_cannot_be_made_waits() -> None:
    bag, clock = Bag(changed(LetterKind.REPORT)), Clock()
    courier = Courier(
        bag, Composer(SENDER), Wall(), opens=nothing_sealed, unsubscribes=a_link, clock=clock
    )
    courier._turns.start()
    assert bag.fate[LetterKind.REPORT] == "waits: there is no key"


def test_a_seal_that_cannot_be_opened_here_waits_for_another_host() -> None:
    sealed = base64.b64encode(b"terces").decode()
    bag, clock = Bag(changed(LetterKind.SIGN_IN, facts={"sealed": sealed})), Clock()
    courier = Courier(
        bag, Composer(SENDER), Wall(), opens=nothing_sealed, unsubscribes=a_link, clock=clock
    )
    courier._turns.start()
    assert bag.fate[LetterKind.SIGN_IN] == "waits: there is no key"
