"""Files of access logs into the spool: each line once, whoever dies in between."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pytest

from watchducks.journal.access_logs import combined
from watchducks.journal.imports import MAX_LINE_BYTES, LogImport
from watchducks.journal.records import decode

NOW = 1_795_410_000.0


def line(number: int) -> bytes:
    return b'192.0.2.1 - - [23/Nov/2026:05:00:00 +0000] "GET /%d HTTP/1.1" 200 5\n' % number


class World:
    """A data directory and a log of ten lines."""

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory / "data"
        self.spool = self.data_dir / "spool"
        self.spool.mkdir(parents=True)
        self.file = directory / "access.log"
        self.file.write_bytes(b"".join(line(number) for number in range(10)))

    def open(self, file: Path | None = None, site_id: int = 1) -> LogImport:
        parse = combined(site_id, "a.test")
        ticks = itertools.count()
        return LogImport(
            file or self.file,
            parse,
            site_id,
            self.data_dir,
            now=lambda: NOW + next(ticks) / 1000,
            segment_rows=4,
        )

    def all_of(self, file: Path | None = None, site_id: int = 1) -> int:
        """Import a file as a whole; return how many rows it gave."""
        importing = self.open(file, site_id)
        rows, is_end = 0, False
        while not is_end:
            taken = importing.take()
            rows, is_end = rows + taken.rows, taken.is_end
        importing.hand_over()
        importing.close()
        return rows

    def shipped(self) -> list[str]:
        """The paths of all rows that the shipper would take."""
        return sorted(
            path
            for segment in self.spool.glob("*.segment")
            for path in decode(segment.read_bytes()).targets
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


PATHS = [f"/{number}" for number in range(10)]


def test_a_file_is_read_once_and_what_it_grew_by_then(world: World) -> None:
    assert world.all_of() == 10
    assert world.shipped() == PATHS
    assert len(list(world.spool.glob("*.segment"))) == 3
    assert world.all_of() == 0
    with world.file.open("ab") as log:
        log.write(line(10) + b"192.0.2.1 - - [half a li")
    renamed = world.file.rename(world.file.with_name("access.log.1"))
    assert world.all_of(renamed) == 1
    assert world.shipped() == sorted([*PATHS, "/10"])
    assert world.all_of(renamed, site_id=2) == 11


def test_a_packed_file(world: World, tmp_path: Path) -> None:
    packed = tmp_path / "access.log.2.gz"
    packed.write_bytes(gzip.compress(world.file.read_bytes()))
    assert world.all_of(packed) == 10
    # It is the same log.
    assert world.all_of() == 0


def test_who_dies_before_the_hand_over_begins_again(world: World) -> None:
    importing = world.open()
    importing.take()
    importing.take()
    importing.close()
    assert world.shipped() == []
    assert world.all_of() == 10
    assert world.shipped() == PATHS
    assert list(world.spool.glob("*.import")) == []


def test_who_dies_in_the_middle_of_it_is_continued(world: World) -> None:
    importing = world.open()
    importing.take()
    importing.take()
    # As hand_over does, up to the first renaming.
    importing._note({"offset": 0, "next": importing._read, "names": importing._hidden})
    importing._rename(importing._hidden[:1])
    importing.close()
    assert world.shipped() == PATHS[:4]
    assert world.all_of() == 2
    assert world.shipped() == PATHS


def test_lines_that_are_none_are_counted(world: World) -> None:
    long = b"x" * (3 * MAX_LINE_BYTES) + b"\n"
    world.file.write_bytes(line(0) + b"nonsense\n" + long + b"\n" + line(1))
    importing = world.open()
    taken = importing.take()
    importing.hand_over()
    importing.close()
    assert (taken.rows, taken.unknown, taken.first_unknown) == (2, 2, "nonsense")
    assert world.shipped() == ["/0", "/1"]


def test_one_import_at_a_time_and_none_of_nothing(world: World) -> None:
    importing = world.open()
    with pytest.raises(BlockingIOError):
        world.open()
    importing.close()
    world.file.write_bytes(b"")
    with pytest.raises(EOFError):
        world.open()
    with pytest.raises(FileNotFoundError):
        world.open(world.file.with_name("missing"))


def test_files_are_for_the_spools_owner_alone(world: World) -> None:
    world.all_of()
    assert {path.stat().st_mode & 0o777 for path in world.spool.iterdir()} == {0o600}
