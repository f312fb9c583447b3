from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from tests.unit.journal.samples import file_of, read, row
from watchducks.background import StartupError
from watchducks.journal.encoder import Encoder
from watchducks.journal.losses import Loss, Losses
from watchducks.journal.records import FILE_HEADER
from watchducks.journal.segments import SegmentDirectory
from watchducks.journal.spool import HELD_BYTES, Spool
from watchducks.model.rows import Row


class Disk:
    """``os.write`` with room for a number of bytes; counts the calls."""

    def __init__(self, room: int = 10**9) -> None:
        self.room = room
        self.calls = 0

    def write(self, fd: int, data: bytes) -> int:
        self.calls += 1
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.write(fd, data[: self.room])
        self.room -= written
        return written


class Journal:
    """A started spool on a clock, and what it left on disk."""

    def __init__(self, directory: Path, flush_rows: int = 10_000) -> None:
        self.clock = Clock()
        self.disk = Disk()
        self.sealed = 0
        self.directory = directory
        self.spool = Spool(
            directory,
            "edge-1",
            Losses(directory / "lost-rows.json"),
            flush_seconds=5,
            flush_rows=flush_rows,
            clock=self.clock,
            on_sealed=self._on_sealed,
            now=lambda: 1_764_000_000 + self.clock.seconds(),
            write=self.disk.write,
        )

    def _on_sealed(self) -> None:
        self.sealed += 1

    def turn(self, *rows: Row) -> None:
        for one in rows:
            self.spool.record(one)
        self.clock.advance(0)

    def rows(self) -> list[Row]:
        """Every row in sealed segments, in order; nothing in them is torn."""
        found: list[Row] = []
        for segment in SegmentDirectory(self.directory).waiting():
            rows, lost_bytes = read(segment.path.read_bytes())
            assert lost_bytes == 0
            found += rows
        return found

    def open_files(self) -> list[Path]:
        return list(self.directory.glob("*.open"))


@pytest_twisted.async_fixture
async def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "spool")
    await journal.spool.start()
    return journal


def test_the_rows_of_a_turn_are_one_write_and_on_disk_at_its_end(journal: Journal) -> None:
    journal.turn(row(1), row(2), row(3))
    assert journal.disk.calls == 1
    (path,) = journal.open_files()
    assert path.stat().st_mode & 0o777 == 0o600
    assert journal.directory.stat().st_mode & 0o777 == 0o700
    assert read(path.read_bytes()) == ([row(1), row(2), row(3)], 0)
    assert journal.spool.recorded == 3
    assert journal.spool.open_bytes == path.stat().st_size


def test_an_idle_spool_makes_no_files(journal: Journal) -> None:
    journal.clock.advance(100)
    assert list(journal.directory.iterdir()) == []


def test_a_segment_is_sealed_flush_seconds_after_its_first_row(journal: Journal) -> None:
    journal.turn(row(1))
    journal.clock.advance(4)
    journal.turn(row(2))
    journal.clock.advance(0.9)
    assert journal.sealed == 0
    journal.clock.advance(0.1)
    assert journal.sealed == 1
    assert journal.rows() == [row(1), row(2)]
    journal.turn(row(3))
    journal.clock.advance(5)
    assert journal.rows() == [row(1), row(2), row(3)]
    assert journal.clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_a_segment_is_sealed_at_flush_rows(tmp_path: Path) -> None:
    journal = Journal(tmp_path, flush_rows=3)
    await journal.spool.start()
    for number in range(7):
        journal.turn(row(number))
        journal.clock.advance(0.001)
    assert journal.sealed == 2
    assert journal.rows() == [row(number) for number in range(6)]
    await journal.spool.stop()
    assert journal.rows() == [row(number) for number in range(7)]


def test_a_segment_is_sealed_before_it_is_too_large_to_decode(journal: Journal) -> None:
    for number in range(1200):
        journal.turn(row(number, path=f"{number}" + "🦆" * 2000))
    assert journal.sealed == 1


@pytest.mark.parametrize("room", [0, 3, 8, 9, 100, 200, 299, 300, 301, 500])
def test_a_full_disk_loses_nothing_when_it_is_freed(journal: Journal, room: int) -> None:
    rows = [row(number) for number in range(5)]
    journal.disk.room = room
    journal.turn(rows[0], rows[1])
    journal.turn(rows[2])
    journal.clock.advance(0.5)
    journal.turn(rows[3])
    assert journal.spool.held_rows + journal.spool.recorded == 4
    journal.disk.room = 10**9
    journal.clock.advance(1)
    journal.turn(rows[4])
    assert journal.spool.held_rows == 0
    journal.clock.advance(5)
    assert journal.rows() == rows
    assert (journal.spool.recorded, journal.spool.dropped()) == (5, {})


def test_what_a_full_disk_keeps_out_is_bounded_and_counted_by_site(journal: Journal) -> None:
    journal.disk.room = 0
    rows = [
        row(number, site_id=number % 2, path=f"{number}" + "x" * 2000) for number in range(5000)
    ]
    for one in rows:
        journal.turn(one)
    held = journal.spool.held_rows
    assert HELD_BYTES / 3000 < held < HELD_BYTES / 2000
    # While it waits, nothing is tried more often than once a second.
    assert journal.disk.calls == 1
    dropped = journal.spool.dropped()
    assert dropped.keys() == {0, 1}
    assert sum(loss.rows for loss in dropped.values()) == len(rows) - held
    assert dropped[0].first == rows[0].time_us // 1_000_000 == dropped[1].last
    # What came first is kept, and comes once.
    journal.disk.room = 10**9
    journal.clock.advance(1)
    journal.clock.advance(5)
    assert journal.rows() == rows[:held]


def test_a_segment_that_was_open_when_the_disk_filled_up_is_shipped(journal: Journal) -> None:
    journal.turn(row(1))
    journal.disk.room = 50
    journal.turn(row(2))
    assert journal.rows() == [row(1)]
    journal.disk.room = 10**9
    journal.clock.advance(1)
    # What is in memory refers to texts that only it has: it goes on in the same file.
    journal.turn(row(3))
    journal.clock.advance(5)
    assert journal.rows() == [row(1), row(2), row(3)]


@pytest_twisted.ensureDeferred
async def test_stopping_on_a_full_disk_counts_what_is_lost(journal: Journal) -> None:
    journal.disk.room = 0
    journal.turn(row(1))
    await journal.spool.stop()
    seconds = row().time_us // 1_000_000
    assert journal.spool.dropped() == {1: Loss(1, seconds, seconds)}
    assert journal.clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_stopping_tries_the_disk_once_more(journal: Journal) -> None:
    journal.disk.room = 0
    journal.turn(row(1))
    journal.disk.room = 10**9
    journal.spool.record(row(2))
    await journal.spool.stop()
    assert journal.rows() == [row(1), row(2)]
    assert journal.spool.dropped() == {}


@pytest_twisted.ensureDeferred
async def test_a_crashed_run_is_sealed_by_the_next(tmp_path: Path) -> None:
    crashed = tmp_path / "edge-1-0000000000000001-00.open"
    crashed.write_bytes(file_of(row(1)) + Encoder().encode([row(2)]).content[:-1])
    (tmp_path / "edge-1-0000000000000002-00.open").write_bytes(FILE_HEADER)
    journal = Journal(tmp_path)
    await journal.spool.start()
    assert [segment.name for segment in SegmentDirectory(tmp_path).waiting()] == [crashed.stem]
    assert journal.open_files() == []


def test_the_open_file_of_a_living_process_is_not_adopted(journal: Journal) -> None:
    journal.turn(row(1))
    assert SegmentDirectory(journal.directory).adopt() == 0
    assert len(journal.open_files()) == 1


@pytest_twisted.ensureDeferred
async def test_two_processes_in_the_same_microsecond(tmp_path: Path) -> None:
    journals = [Journal(tmp_path), Journal(tmp_path)]
    for number, journal in enumerate(journals):
        await journal.spool.start()
        journal.turn(row(number))
    for journal in journals:
        await journal.spool.stop()
    assert sorted(journals[0].rows()) == [row(0), row(1)]


@pytest_twisted.ensureDeferred
async def test_a_row_after_the_stop_is_for_the_next_run(journal: Journal) -> None:
    await journal.spool.stop()
    journal.turn(row(1))
    (path,) = journal.open_files()
    assert read(path.read_bytes()) == ([row(1)], 0)


def test_a_row_that_cannot_be_encoded_does_not_take_others_along(journal: Journal) -> None:
    journal.turn(row(1), row(2, path=None), row(3))
    journal.clock.advance(5)
    assert journal.rows() == [row(1), row(3)]
    assert journal.spool.failed == 1


def test_rows_are_written_when_the_reactor_is_about_to_send(tmp_path: Path) -> None:
    asked: list[Callable[[], None]] = []
    clock = Clock()
    spool = Spool(
        tmp_path,
        "edge-1",
        Losses(tmp_path / "lost-rows.json"),
        flush_seconds=5,
        flush_rows=1000,
        clock=clock,
        soon=asked.append,
    )
    for _ in range(2):
        spool.record(row(1))
        spool.record(row(2))
        (flush,) = asked
        asked.clear()
        flush()
    (path,) = tmp_path.glob("*.open")
    assert read(path.read_bytes()) == ([row(1), row(2)] * 2, 0)
    assert len(clock.getDelayedCalls()) == 1  # to seal the segment


@pytest_twisted.ensureDeferred
async def test_a_directory_that_cannot_be_made_is_an_error_that_names_the_key(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"^node\.data_dir: "):
        await Journal(tmp_path / "file" / "spool").spool.start()
