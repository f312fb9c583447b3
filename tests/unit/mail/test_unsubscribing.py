"""Links that stop letters: which letters have one, and what it is good for."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mail.letters import SITE, posted
from tests.unit.stores.test_memory import now
from watchducks.mail.unsubscribing import MAX_CODE_CHARACTERS, Unsubscribing
from watchducks.model.letters import LetterKind
from watchducks.model.subjects import ALL_SITES, Subject, Subscription, subscription_of
from watchducks.registry.sealing import Sealer

URL = "https://console.example"
ALWAYS = {
    LetterKind.REGISTRATION,
    LetterKind.SIGN_IN,
    LetterKind.FAREWELL,
    LetterKind.FORGOTTEN,
    LetterKind.SUSPENDED,
}


def links(path: Path) -> Unsubscribing:
    """Return links made with the key in a file."""
    sealer = Sealer(path)

    async def seal(secret: bytes, context: bytes) -> bytes:
        return sealer.seal(secret, context)

    async def unseal(sealed: bytes, context: bytes) -> bytes:
        if not sealer.loaded:
            sealer.load()
        return sealer.unseal(sealed, context)

    return Unsubscribing(URL, seal=seal, unseal=unseal)


@pytest.mark.parametrize("kind", LetterKind)
def test_every_letter_has_a_link_but_those_that_one_has_to_get(
    kind: LetterKind, tmp_path: Path
) -> None:
    letter = posted(kind).letter
    unsubscribing = links(tmp_path / "key")
    link = now(unsubscribing.link(letter))
    assert (link == "") == (kind in ALWAYS)
    if link:
        assert letter.recipient not in link
        assert len(link) < 200
        its = now(unsubscribing.read(link.removeprefix(f"{URL}/letters/")))
        assert its == subscription_of(letter)
        assert its is not None
        assert its.email == letter.recipient
        of_all = its.subject is Subject.FAILOVER
        assert its.site_id == (ALL_SITES if of_all else SITE.id)


def test_a_link_of_the_longest_address_is_read(tmp_path: Path) -> None:
    unsubscribing = links(tmp_path / "key")
    longest = f"{'l' * 64}@{'d' * 63}.{'d' * 63}.{'d' * 57}.ex"
    its = Subscription(longest, 2**63 - 1, Subject.NAME_SERVERS)
    assert Subscription.unpack(its.pack()) == its
    sealed = Sealer(tmp_path / "key").seal(its.pack(), b"a link to unsubscribe")
    code = base64.urlsafe_b64encode(sealed).decode()
    assert len(code) <= MAX_CODE_CHARACTERS
    assert now(unsubscribing.read(code)) == its


@given(code=st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda b: b.hex())))
def test_what_nobody_was_sent_is_no_link(
    code: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("keys")
    assert now(links(folder / "key").read(code)) is None
    assert now(links(folder / "key").read("A" * 100_000)) is None


def test_a_changed_link_is_none_and_another_hosts_is_none(tmp_path: Path) -> None:
    mine, other = links(tmp_path / "mine"), links(tmp_path / "other")
    code = now(mine.link(posted(LetterKind.SPIKE).letter)).rpartition("/")[2]
    now(other.link(posted(LetterKind.SPIKE).letter))
    assert now(mine.read(code)) is not None
    assert now(other.read(code)) is None
    for place in range(0, len(code), 7):
        letter = "A" if code[place] != "A" else "B"
        assert now(mine.read(code[:place] + letter + code[place + 1 :])) is None
