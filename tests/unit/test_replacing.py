"""Files that are replaced as a whole, whoever else writes them at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tests.unit.certificates.test_store import InlinePool
from watchducks.health import memory
from watchducks.journal.losses import Loss, Losses
from watchducks.journal.visitors import VisitorKeys
from watchducks.lookups import remembered
from watchducks.nameserver.cookies import kept_secret
from watchducks.registry.snapshot import Snapshot, read_snapshot, write_snapshot
from watchducks.replacing import replace_file


def test_two_who_write_at_once_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"

    def slowly() -> Iterator[bytes]:
        yield b"one "
        replace_file(path, b"another's")
        assert path.read_bytes() == b"another's"
        yield b"at last"

    replace_file(path, slowly())
    assert path.read_bytes() == b"one at last"
    assert [found.name for found in tmp_path.iterdir()] == ["verdicts.json"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_one_who_fails_leaves_the_file_as_it_was_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    replace_file(path, b"before")

    def broken() -> Iterator[bytes]:
        yield b"after"
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        replace_file(path, broken())
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed_when_nobody_can_be_writing_it(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    left, other = tmp_path / "verdicts.json.0123.new", tmp_path / "addresses.json.0123.new"
    left.touch()
    other.touch()
    os.utime(left, (1000, 1000))
    os.utime(other, (1000, 1000))
    replace_file(path, b"soon", now=lambda: 2000.0)
    assert left.exists()
    replace_file(path, b"late", now=lambda: 5000.0)
    assert not left.exists()
    assert other.exists()


def write_losses(path: Path) -> bool:
    losses = Losses(path)
    losses.add({1: Loss(2, 3, 4)})
    _ = Deferred.fromCoroutine(losses.save(InlinePool()))
    again = Losses(path)
    return again.load() and again.rows == 2


def write_keys(path: Path) -> bool:
    written = VisitorKeys(path).keys_of([7])
    again = VisitorKeys(path)
    return again.load() and again.keys_of([7]) == written


def write_sites(path: Path) -> bool:
    write_snapshot(path, Snapshot("lineage", 5, []))
    return read_snapshot(path) == Snapshot("lineage", 5, [])


def write_verdicts(path: Path) -> bool:
    memory.write(path, 5, ())
    return memory.read(path).serial == 5


def write_addresses(path: Path) -> bool:
    written = remembered.Remembered(moves={"ducks.example": 2})
    remembered.write(path, written)
    return remembered.read(path) == written


def write_secret(path: Path) -> bool:
    return kept_secret(path, Logger()) == kept_secret(path, Logger())


@pytest.mark.parametrize(
    "write",
    [write_losses, write_keys, write_sites, write_verdicts, write_addresses, write_secret],
)
def test_none_that_two_colours_share_needs_a_name_that_the_other_may_be_using(
    write: Callable[[Path], bool], tmp_path: Path
) -> None:
    path = tmp_path / "shared.json"
    for name in ("shared.json.new", "shared.new"):
        (tmp_path / name).mkdir()
    assert write(path)
