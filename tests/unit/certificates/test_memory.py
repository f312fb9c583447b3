"""What the keeper remembers over a restart."""

from __future__ import annotations

import pytest
import pytest_twisted

from watchducks.certificates.memory import BundleMemory, Memory, Order, Wait
from watchducks.certificates.plan import Failure

ORDER = Order("ca", "https://ca/1", ("a.example",), "key")
WAITS = {"ca": Wait(1.0, 7.5, 2)}
FAILURES = {"b.example": Failure(2, 1.0, 7.5, "dns", "no")}


class Kept:
    """Where it is kept. :ivar writes: how often."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.writes = 0

    async def secrets(self, prefix: str) -> dict[str, bytes]:
        return {name: one for name, one in self.rows.items() if name.startswith(prefix)}

    async def keep_secret(self, name: str, secret: bytes | None) -> None:
        self.writes += 1
        if secret is None:
            self.rows.pop(name, None)
        else:
            self.rows[name] = secret


@pytest_twisted.ensureDeferred
async def test_it_comes_back_and_goes() -> None:
    kept = Kept()
    memory = Memory(kept)
    await memory.keep_bundle("a.example", BundleMemory(ORDER, WAITS))
    await memory.keep_failures("b.example", FAILURES)
    later = Memory(kept)
    await later.recall()
    assert later.bundle("a.example") == BundleMemory(ORDER, WAITS)
    assert later.bundles() == ["a.example"]
    assert later.failures == {"b.example": FAILURES}
    writes = kept.writes
    await later.keep_bundle("a.example", BundleMemory(ORDER, WAITS))
    await later.keep_failures("b.example", FAILURES)
    await later.keep_failures("c.example", {})
    assert kept.writes == writes  # nothing was new
    await later.keep_bundle("a.example", BundleMemory())
    await later.keep_failures("b.example", {})
    assert not kept.rows
    assert later.bundles() == []


def test_nobody_prints_a_key() -> None:
    assert "key" not in repr(ORDER).replace("key=", "")


@pytest.mark.parametrize("junk", [b"", b"{}", b"[]", b'{"order": 5}', b'{"order":null,"waits":3}'])
@pytest_twisted.ensureDeferred
async def test_junk_is_forgotten(junk: bytes) -> None:
    kept = Kept()
    kept.rows = {"bundle:a.example": junk, "zone:b.example": junk[:-1] or b"[]"}
    memory = Memory(kept)
    await memory.recall()
    assert memory.bundle("a.example") == BundleMemory()
    assert not memory.failures["b.example"]
