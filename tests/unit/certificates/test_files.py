"""Certificates of the registry as files: whole or not at all, and nobody else's are touched."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted
from cryptography.hazmat.primitives import serialization
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.certificates.authority import Authority
from tests.unit.certificates.test_store import InlinePool
from watchducks.certificates import files as certificate_files
from watchducks.certificates.files import LOOK_SECONDS, CertificateFiles, joined, split, write_all
from watchducks.certificates.store import CertificateStore
from watchducks.model.certificates import KeptPair
from watchducks.stores.interfaces import StoreUnavailable
from watchducks.stores.memory import MemoryCache


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "certificates"
    made.mkdir()
    return made


def pair(authority: Authority, *names: str) -> bytes:
    chain, key = authority.certify(*names)
    pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    assert split(joined(pem, private)) == (pem, private)
    return joined(pem, private)


def modes(directory: Path) -> list[int]:
    return [file.stat().st_mode & 0o777 for file in directory.glob("*/privkey.pem")]


class Source:
    def __init__(self) -> None:
        self.changes: list[KeptPair] = []
        self.away = False

    async def certificates_since(self, revision: int) -> tuple[int, list[KeptPair]]:
        if self.away:
            raise StoreUnavailable("away")
        return max(revision, len(self.changes)), self.changes[revision:]


@pytest_twisted.ensureDeferred
async def test_they_are_served_replaced_and_removed(directory: Path, authority: Authority) -> None:
    clock, source = Clock(), Source()
    store = CertificateStore(directory, pool=InlinePool(), clock=clock)
    files = CertificateFiles(
        source, directory, store.nudge, MemoryCache(clock), pool=InlinePool(), clock=clock
    )
    await store.start()
    source.changes.append(KeptPair("pond.example", pair(authority, "pond.example")))
    await files.start()
    clock.advance(0)
    first = store.context_for("pond.example")
    assert first is not None
    source.changes.append(
        KeptPair("pond.example", pair(authority, "pond.example", "www.pond.example"))
    )
    clock.advance(LOOK_SECONDS)
    clock.advance(0)
    assert store.context_for("www.pond.example") is not None
    assert modes(directory) == [0o600]
    source.away = True
    clock.advance(LOOK_SECONDS)
    source.away = False
    source.changes.append(KeptPair("pond.example", None))
    clock.advance(LOOK_SECONDS)
    clock.advance(0)
    assert store.context_for("www.pond.example") is None
    assert modes(directory) == []
    await files.stop()
    await store.stop()


@pytest.mark.parametrize("empty", [False, True])
def test_what_the_registry_has_forgotten_goes_at_the_start(
    directory: Path, authority: Authority, *, empty: bool
) -> None:
    def folders() -> set[str]:
        return {folder.name.rpartition("-")[0] for folder in directory.iterdir()}

    left, kept = (KeptPair(name, pair(authority, name)) for name in ("left.example", "a.example"))
    write_all(directory, [left, kept])
    (directory / "own").mkdir()
    clock, source, written = Clock(), Source(), list[int]()
    source.changes += [] if empty else [kept]
    files = CertificateFiles(
        *(source, directory, lambda: written.append(1), MemoryCache(clock)),
        pool=InlinePool(),
        clock=clock,
    )
    source.away = True
    _ = Deferred.fromCoroutine(files.start())
    assert folders() == {"acme-left.example", "acme-a.example", ""}
    source.away = False
    clock.advance(LOOK_SECONDS)
    # A registry without any certificate may be another one.
    assert folders() == {"acme-a.example", ""} | ({"acme-left.example"} if empty else set())
    assert written == ([] if empty else [1])
    write_all(directory, [left])  # by whoever it was, it is only looked for at the start
    clock.advance(LOOK_SECONDS)
    assert "acme-left.example" in folders()
    _ = Deferred.fromCoroutine(files.stop())


def test_only_what_changed_is_written(directory: Path, authority: Authority) -> None:
    (directory / "own").mkdir()
    (directory / "acme-pond.example.org-0123").mkdir()
    changes = [KeptPair("pond.example", pair(authority, "pond.example"))]
    assert write_all(directory, changes)
    assert not write_all(directory, changes)
    assert write_all(directory, [KeptPair("pond.example", None)])
    assert {folder.name for folder in directory.iterdir()} == {
        "own",
        "acme-pond.example.org-0123",
    }
    assert list(directory.with_name("certificates.new").iterdir()) == []


def test_the_longest_name(directory: Path, authority: Authority) -> None:
    name = ".".join(["a" * 62] * 4)
    assert write_all(directory, [KeptPair(name, pair(authority, "pond.example"))])
    assert write_all(directory, [KeptPair(name, None)])
    assert list(directory.iterdir()) == []


def test_two_colours_write_and_remove_the_same(directory: Path, authority: Authority) -> None:
    workshop = directory.with_name("workshop")
    workshop.mkdir()
    folder, pem = directory / "acme-pond.example-0123", pair(authority, "pond.example")
    for _ in range(2):
        certificate_files._write(workshop, folder, pem)
    assert modes(directory) == [0o600]
    for _ in range(2):
        certificate_files._remove(workshop, folder)
    assert [*directory.iterdir(), *workshop.iterdir()] == []
