"""What an owner is told a week before his site is forgotten, and where the message is left."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from email.message import EmailMessage
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest
from twisted.internet.defer import Deferred

from tests.unit.registry.examples import example_site
from watchducks.lookups.farewell import farewells
from watchducks.model.letters import Letter, LetterKind
from watchducks.stores.interfaces import StoreUnavailable
from watchducks.stores.outbox import Outbox

P = ParamSpec("P")
T = TypeVar("T")
SITE = example_site("ducks.example")
FORGOTTEN = 1_800_000_000.0


class HereAndNow:
    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


class Pillar:
    """A letter box; full, it takes nothing."""

    def __init__(self, *, full: bool = False) -> None:
        self.letters: list[Letter] = []
        self.full = full

    async def post(self, letter: Letter) -> bool:
        self.letters.append(letter)
        return not self.full


def done(coroutine: Coroutine[Deferred[Any], Any, T]) -> T:
    results: list[T] = []
    errors: list[Any] = []
    _ = Deferred.fromCoroutine(coroutine).addCallbacks(results.append, errors.append)
    if errors:
        raise errors[0].value
    return results[0]


def test_its_owner_is_told_when_it_will_be_forgotten() -> None:
    pillar = Pillar()
    done(farewells(pillar)(SITE, FORGOTTEN))
    (letter,) = pillar.letters
    assert (letter.kind, letter.recipient) == (LetterKind.FAREWELL, "owner@mail.example")
    assert letter.facts["forgotten"] == FORGOTTEN


def test_who_was_not_told_is_not_forgotten() -> None:
    with pytest.raises(StoreUnavailable, match="too many letters"):
        done(farewells(Pillar(full=True))(SITE, FORGOTTEN))


def message() -> EmailMessage:
    found = EmailMessage()
    found["To"] = "owner@mail.example"
    found.set_content("오리")
    return found


def test_a_message_is_left_whole_and_for_nobody_else(tmp_path: Path) -> None:
    done(Outbox(tmp_path / "outbox", HereAndNow()).send(message()))
    (file,) = (tmp_path / "outbox").iterdir()
    assert (file.suffix, file.stat().st_mode & 0o777) == (".eml", 0o600)
    assert (tmp_path / "outbox").stat().st_mode & 0o777 == 0o700
    assert b"To: owner@mail.example\r\n" in file.read_bytes()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file")
    with pytest.raises(StoreUnavailable, match="outbox"):
        done(Outbox(tmp_path / "outbox", HereAndNow()).send(message()))
