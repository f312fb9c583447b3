"""What an owner is told a week before his site is forgotten, and where the message is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from twisted.internet.defer import Deferred

from tests.unit.registry.examples import example_site
from watchducks.lookups.farewell import farewell_mail
from watchducks.stores.interfaces import StoreUnavailable
from watchducks.stores.outbox import Outbox

P = ParamSpec("P")
T = TypeVar("T")
NOW = 1_800_000_000


class HereAndNow:
    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


def left(folder: Path) -> list[Path]:
    site = replace(example_site("xn--bj0bj06e.example"), name="오리")
    mail = farewell_mail(
        site,
        NOW + 7 * 86_400,
        ["ns1.ducks.example", "ns2.ducks.example"],
        sender="us@ducks.example",
        url="https://console.example/sites/x",
        now=NOW,
    )
    errors: list[object] = []
    sent = Deferred.fromCoroutine(Outbox(folder, HereAndNow()).send(mail))
    _ = sent.addErrback(errors.append)
    if errors:
        raise errors[0].value  # type: ignore[attr-defined]
    return list(folder.iterdir())


def test_the_message_says_when_and_what_to_do(tmp_path: Path) -> None:
    (file,) = left(tmp_path / "outbox")
    assert (file.suffix, file.stat().st_mode & 0o777) == (".eml", 0o600)
    assert (tmp_path / "outbox").stat().st_mode & 0o777 == 0o700
    mail = message_from_bytes(file.read_bytes(), policy=default)
    assert (mail["From"], mail["To"]) == ("us@ducks.example", "owner@mail.example")
    body = mail.get_content()
    for text in ("2027-01-22", "    ns2.ducks.example", "오리", "https://console.example/sites/x"):
        assert text in body


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file")
    with pytest.raises(StoreUnavailable, match="outbox"):
        left(tmp_path / "outbox")
