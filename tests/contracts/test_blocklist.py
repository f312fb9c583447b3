"""The blocklist in the registry, over SQLite and MariaDB."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.contracts.test_accounts import NOW, OTHER, OWNER, opened, url  # noqa: F401  a fixture
from watchducks.model.accounts import COMMAND_LINE, Act, Actor
from watchducks.model.blocks import BlockKind, keys_of
from watchducks.model.letters import LetterKind
from watchducks.model.problems import InvalidFields
from watchducks.registry.blocklist import Blocklist

BY = Actor("admin@ducks.example", "192.0.2.0/24")


@pytest_twisted.ensureDeferred
async def test_a_block_is_added_found_and_removed(url: str) -> None:  # noqa: F811
    async with opened(url) as world:
        blocklist = Blocklist(world.registry, clock=world.clock)
        made = await blocklist.add(" Pond.Example", "spam\n since May", by=BY)
        assert (made.kind, made.value) == (BlockKind.DOMAIN, "pond.example")
        assert (made.reason, made.by, made.created) == ("spam since May", BY.name, NOW)
        assert await blocklist.refusing(keys_of(("www.pond.example",), "", None, None)) == made
        assert await blocklist.refusing(keys_of(("pond.test",), OWNER, None, None)) is None
        network = await blocklist.add("203.0.113.9/24", "attacks", by=COMMAND_LINE)
        assert await blocklist.blocks() == [network, made]
        for what, reason, fields in (
            ("pond.example", "again", {"what"}),
            ("no domain", " ", {"what", "reason"}),
            ("geese.example", "x" * 201, {"reason"}),
            ("geese.example", "\x07", {"reason"}),
            (5, None, {"what"}),
        ):
            with pytest.raises(InvalidFields) as raised:
                await blocklist.add(what, reason, by=BY)
            assert set(raised.value.problems) == fields, what
        assert await blocklist.remove(made.number, by=BY) == made
        assert await blocklist.remove(made.number, by=BY) is None
        assert await blocklist.refusing(keys_of(("pond.example",), "", None, None)) is None
        acts = [(one.act, one.details["what"]) for one in await world.registry.trail(None)]
        assert acts == [
            (Act.UNBLOCKED, "pond.example"),
            (Act.BLOCKED, "203.0.113.0/24"),
            (Act.BLOCKED, "pond.example"),
        ]


@pytest_twisted.ensureDeferred
async def test_sites_that_are_there_go_on_until_they_are_suspended(url: str) -> None:  # noqa: F811
    async with opened(url) as world:
        blocklist = Blocklist(world.registry, clock=world.clock)
        ducks, geese = await world.add("ducks"), await world.add("geese", OTHER)
        block = await blocklist.add(OWNER, "no more", by=BY)
        assert [one.name for one in await blocklist.sites_of(block)] == ["ducks"]
        revision = await world.registry.revision()
        (suspended,) = await blocklist.suspend(block, suspended=True, by=BY)
        assert (suspended.id, suspended.suspended) == (ducks.id, True)
        changes = await world.registry.changes_since(revision)
        assert [(one.id, one.suspended) for one in changes.sites] == [(ducks.id, True)]
        assert await blocklist.suspend(block, suspended=True, by=BY) == []
        letters = []
        while taken := await world.bag.take_due(10):
            for one in taken:
                await world.bag.keep_sent(one)
                letters += [(one.letter.recipient, one.letter.kind)]
        assert (OWNER, LetterKind.SUSPENDED) in letters
        assert (OTHER, LetterKind.SUSPENDED) not in letters
        (entry,) = await world.registry.trail(ducks.id, limit=1)
        assert (entry.act, entry.details) == (Act.SUSPENDED, {"suspended": ["False", "True"]})
        (resumed,) = await blocklist.suspend(block, suspended=False, by=BY)
        assert not resumed.suspended
        found = await world.registry.site("geese")
        assert found is not None
        assert (found.revision, found.suspended) == (geese.revision, False)
        assert await world.registry.suspend("nobody", suspended=True) is None
