"""What a parent has as DS: known, or not known in time."""

from __future__ import annotations

import dns.name
import pytest
from dns.name import Name
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from watchducks.lookups.client import LookupFailed
from watchducks.lookups.parents import ASK_SECONDS, Parents
from watchducks.lookups.servers import Delegation


class FakeDirectory:
    """:ivar answer: what is said of every zone; an exception is raised; None: nothing, ever."""

    def __init__(self, answer: Delegation | Exception | None) -> None:
        self._answer = answer
        self.asked: list[Name] = []

    async def delegation(self, zone: Name) -> Delegation:
        self.asked.append(zone)
        if self._answer is None:
            await Deferred()
        if isinstance(self._answer, Exception):
            raise self._answer
        assert self._answer is not None
        return self._answer


def ask(answer: Delegation | Exception | None, seconds: float = 0) -> tuple[str, ...] | None:
    clock, directory = Clock(), FakeDirectory(answer)
    results: list[tuple[str, ...] | None] = []
    found = Deferred.fromCoroutine(Parents(directory, clock=clock).ds_of("ducks.example"))
    _ = found.addCallback(results.append)
    clock.advance(seconds)
    assert directory.asked == [dns.name.from_text("ducks.example.")]
    (result,) = results
    return result


@pytest.mark.parametrize("ds", [(), ("1 13 2 ab", "2 13 2 cd")])
def test_what_the_parent_says_is_told(ds: tuple[str, ...]) -> None:
    assert ask(Delegation(dns.name.from_text("example."), (), ds)) == ds


def test_a_parent_that_cannot_be_asked_is_not_one_without_ds() -> None:
    assert ask(LookupFailed("nobody answers")) is None
    assert ask(None, ASK_SECONDS) is None
