"""The file of last known sites: what was written comes back, and nothing else does."""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.registry.examples import example_site
from watchducks.model.signing import UNSIGNED, Phase, Signing, ZoneKey
from watchducks.model.sites import SiteChoices
from watchducks.model.zones import DEFAULT_CONTENTS, Record, ZoneContents
from watchducks.registry.snapshot import (
    Snapshot,
    SnapshotDamaged,
    read_snapshot,
    write_snapshot,
)

SITES = [
    example_site("a.example", revision=1),
    example_site("xn--oy2b11u.example", revision=2, origin="https://[2001:db8::7]:8443"),
    replace(
        example_site("c.example", revision=5, origin="http://203.0.113.9:8080"),
        choices=SiteChoices("pinned", "ab" * 32, redirect_to_https=True, hsts_seconds=300),
        contents=ZoneContents(("@", "shop"), (Record(b"", 16, 300, b"\x02hi"),)),
        signing=Signing(Phase.PUBLISHING, 7, (ZoneKey(b"\xff" * 64, b"sealed"),)),
        suspended=True,
    ),
]
# What earlier versions wrote: sites without choices, then without contents, then without signing.
FORMAT_1 = """{"format": 1, "lineage": "first", "revision": 3,
"sites": [
{"id": 3, "name": "a", "domain": "a.example", "zone": "a.example", "origin": "203.0.113.7", \
"email": "owner@mail.example", "cohort": "\\uc624\\ub9ac", "state": "registered", \
"revision": 3, "created": 1800000000}],
"sha256": "%s"}
"""


@pytest.mark.parametrize("count", [0, 1, 3])
def test_what_is_written_comes_back(tmp_path: Path, count: int) -> None:
    path = tmp_path / "sites.json"
    assert read_snapshot(path) is None
    snapshot = Snapshot("lineage", 7, SITES[:count])
    write_snapshot(path, Snapshot("earlier", 1, SITES))
    write_snapshot(path, snapshot)
    assert read_snapshot(path) == snapshot
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["revision"] == 7
    assert [file.name for file in tmp_path.iterdir()] == ["sites.json"]


def test_a_file_of_the_version_before_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sites.json"
    content, _, _ = FORMAT_1.partition("],\n")
    path.write_text(FORMAT_1 % hashlib.sha256(content.encode()).hexdigest())
    assert read_snapshot(path) == Snapshot("first", 3, [example_site("a.example", revision=3)])
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(SnapshotDamaged, match="checksum"):
        read_snapshot(path)


def test_a_file_without_contents_or_signing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sites.json"
    choices = (
        ', "origin_tls": "off", "origin_pin": "", "redirect_to_https": true, "hsts_seconds": 0}'
    )
    written = FORMAT_1.replace('"format": 1', '"format": 2').replace("}],", f"{choices}],")
    content, _, _ = written.partition("],\n")
    path.write_text(written % hashlib.sha256(content.encode()).hexdigest())
    snapshot = read_snapshot(path)
    assert snapshot is not None
    assert snapshot.sites[0].choices == SiteChoices("off", redirect_to_https=True)
    assert snapshot.sites[0].contents is DEFAULT_CONTENTS
    written = written.replace('"format": 2', '"format": 3').replace("}],", ', "contents": ""}],')
    content, _, _ = written.partition("],\n")
    path.write_text(written % hashlib.sha256(content.encode()).hexdigest())
    assert read_snapshot(path) == snapshot
    assert snapshot.sites[0].signing is UNSIGNED


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "sites.json"
    snapshot = Snapshot("lineage", 7, SITES)
    write_snapshot(path, snapshot)
    bad = Snapshot("lineage", 8, [*SITES, None])  # type: ignore[list-item]
    with pytest.raises(AttributeError):
        write_snapshot(path, bad)
    assert read_snapshot(path) == snapshot


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshot") / "sites.json"
    write_snapshot(path, Snapshot("lineage", 7, SITES))
    return path


@given(data=st.data())
def test_a_damaged_file_is_never_believed(written: Path, data: st.DataObject) -> None:
    content = written.read_bytes()
    match data.draw(st.sampled_from(["cut", "flip", "insert", "anything"])):
        case "cut":
            damaged = content[: data.draw(st.integers(0, len(content) - 1))]
        case "flip":
            place = data.draw(st.integers(0, len(content) - 1))
            octet = bytes([content[place] ^ (1 << data.draw(st.integers(0, 7)))])
            damaged = content[:place] + octet + content[place + 1 :]
        case "insert":
            place = data.draw(st.integers(0, len(content)))
            damaged = content[:place] + data.draw(st.binary(min_size=1)) + content[place:]
        case _:
            damaged = data.draw(st.binary())
    path = written.with_name("damaged.json")
    path.write_bytes(damaged)
    try:
        snapshot = read_snapshot(path)
    except SnapshotDamaged:
        return
    # Blanks between tokens, and the like, may change without changing what is said.
    assert snapshot == read_snapshot(written)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{}", '{"format": 4}', '{"format": 1}', "[" * 100_000, '{"format": [1]}'],
)
def test_other_json_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "sites.json"
    path.write_text(content)
    with pytest.raises(SnapshotDamaged):
        read_snapshot(path)


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotDamaged, match="cannot be read"):
        read_snapshot(tmp_path)
