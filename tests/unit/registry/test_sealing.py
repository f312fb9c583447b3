"""Sealing, and the file its key lies in."""

from __future__ import annotations

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from tests.servers.waiting import eventually
from watchducks.background import ThreadPool
from watchducks.model.seals import SealError
from watchducks.registry.sealing import READ_SECONDS, KeyFile, Sealer

REACTOR: Any = reactor


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "registry.key"


def test_what_is_sealed_opens_again_also_by_another_process(path: Path) -> None:
    sealed = Sealer(path).seal(b"secret", b"a row")
    assert b"secret" not in sealed
    other = Sealer(path)
    other.load()
    assert other.unseal(sealed, b"a row") == b"secret"


def test_the_key_file_is_only_the_owners_and_nothing_else_is_left(path: Path) -> None:
    Sealer(path).seal(b"secret", b"a row")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["registry.key"]


def test_two_seals_of_the_same_differ(path: Path) -> None:
    sealer = Sealer(path)
    assert sealer.seal(b"secret", b"a row") != sealer.seal(b"secret", b"a row")


def test_sealers_that_begin_at_the_same_time_agree_on_one_key(path: Path) -> None:
    sealers = [Sealer(path) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda sealer: sealer.seal(b"secret", b""), sealers))
    assert {sealers[0].unseal(one, b"") for one in sealed} == {b"secret"}
    assert [file.name for file in path.parent.iterdir()] == ["registry.key"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sealed: sealed[:-1] + bytes((sealed[-1] ^ 1,)),
        lambda sealed: sealed[:-1],
        lambda sealed: sealed[:6],
        lambda sealed: sealed[:5],
    ],
)
def test_what_is_damaged_does_not_open(path: Path, spoil: Callable[[bytes], bytes]) -> None:
    sealer = Sealer(path)
    with pytest.raises(SealError, match="damaged"):
        sealer.unseal(spoil(sealer.seal(b"secret", b"a row")), b"a row")


def test_what_was_moved_to_another_row_does_not_open(path: Path) -> None:
    sealer = Sealer(path)
    with pytest.raises(SealError, match="wrong row"):
        sealer.unseal(sealer.seal(b"secret", b"a row"), b"another row")


def test_a_format_of_later_is_not_guessed_at(path: Path) -> None:
    sealer = Sealer(path)
    sealed = sealer.seal(b"secret", b"a row")
    with pytest.raises(SealError, match="another version"):
        sealer.unseal(b"\x02" + sealed[1:], b"a row")
    with pytest.raises(SealError, match="another version"):
        sealer.unseal(b"", b"a row")


def test_another_hosts_key_is_named_in_the_message(path: Path, tmp_path: Path) -> None:
    sealer = Sealer(path)
    sealer.seal(b"secret", b"")
    sealed = Sealer(tmp_path / "other.key").seal(b"secret", b"")
    with pytest.raises(SealError, match=r"registry\.key holds the key [0-9a-f]{8}, and this was"):
        sealer.unseal(sealed, b"")


def test_who_only_opens_makes_no_key_file(path: Path) -> None:
    sealer = Sealer(path)
    with pytest.raises(SealError, match=r"cannot read .*registry\.key: No such file"):
        sealer.load()
    with pytest.raises(SealError, match=r"cannot read .*registry\.key: No such file"):
        sealer.unseal(b"\x01" + bytes(40), b"")
    with pytest.raises(SealError, match="was not read yet"):
        Sealer(path).unseal(b"\x01" + bytes(40), b"")
    assert not sealer.loaded
    assert not path.exists()


def test_no_key_is_made_where_another_one_is_expected(path: Path) -> None:
    before = Sealer(path)
    sealed = before.seal(b"secret", b"")
    key_id = before.key_id
    assert key_id is not None
    path.rename(path.with_name("lost"))
    sealer = Sealer(path)
    sealer.expect(key_id)
    for use in (sealer.load, lambda: sealer.seal(b"secret", b"")):
        with pytest.raises(SealError, match=r"cannot read .*registry\.key.* or from a backup"):
            use()
    assert not path.exists()
    path.with_name("lost").rename(path)  # it comes back, and nobody has to restart anything
    sealer.load()
    assert sealer.unseal(sealed, b"") == b"secret"


def test_another_key_than_the_expected_one_is_not_used(path: Path, tmp_path: Path) -> None:
    right, wrong = Sealer(path), Sealer(tmp_path / "wrong.key")
    right.seal(b"secret", b"")
    wrong.seal(b"secret", b"")
    assert right.key_id is not None
    wrong.expect(right.key_id)
    for use in (
        wrong.load,
        lambda: wrong.seal(b"secret", b""),
        lambda: wrong.unseal(right.seal(b"secret", b""), b""),
    ):
        with pytest.raises(SealError, match=r"wrong\.key holds the key .* copy the file from"):
            use()
    assert not wrong.loaded


@pytest.mark.parametrize("content", [b"", b"c2hvcnQ=\n", b"\xff\xfe no base64"])
def test_a_file_that_is_no_key_file_is_named(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    for use in (Sealer(path).load, lambda: Sealer(path).seal(b"secret", b"")):
        with pytest.raises(SealError, match=r"registry\.key holds no key"):
            use()
    assert path.read_bytes() == content


@pytest_twisted.ensureDeferred
async def test_a_key_file_that_comes_late_is_found(path: Path) -> None:
    clock, pool = Clock(), ThreadPool("keys", 1, reactor=REACTOR)
    sealer = Sealer(path)
    part = KeyFile(sealer, pool=pool, clock=clock)
    pool.start()
    try:
        await part.start()
        assert not sealer.loaded
        Sealer(path).seal(b"secret", b"")

        async def loaded() -> bool:
            clock.advance(READ_SECONDS)
            return sealer.loaded

        await eventually(REACTOR, loaded, "the key file to be read", 5)
        await part.stop()
    finally:
        pool.stop()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(SealError, match=r"cannot make .*registry\.key"):
        Sealer(tmp_path / "data" / "registry.key").seal(b"secret", b"")
