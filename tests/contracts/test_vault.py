"""The vault over SQLite and MariaDB: what hosts share, sealed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from sqlalchemy import text
from twisted.internet import reactor

from tests.contracts.stores_under_test import open_registry
from tests.servers.mariadb import MariaDB
from watchducks.model.accounts import COMMAND_LINE, Act
from watchducks.model.certificates import ACCOUNT_KEYS, KeptPair
from watchducks.model.challenges import MAX_CHALLENGES, Challenge
from watchducks.model.origins import parse_origin
from watchducks.model.sites import Registration
from watchducks.registry import audit
from watchducks.registry.sealing import Sealer
from watchducks.registry.vault import (
    CHALLENGE_LIFE_SECONDS,
    DROPPED_LIFE_SECONDS,
    PAGE_CERTIFICATES,
    Vault,
)
from watchducks.stores.interfaces import StoreUnavailable

REACTOR: Any = reactor


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.sqlite"
    server: MariaDB = request.getfixturevalue("mariadb")
    return server.fresh_database()


class Host:
    """:ivar now: POSIX seconds."""

    def __init__(self, registry: Any, sealer: Sealer) -> None:
        self.now = 1e9
        self.registry = registry
        self.vault = Vault(registry, sealer, now=lambda: self.now)


@asynccontextmanager
async def host(url: str, key_file: Path) -> AsyncIterator[Host]:
    sealer = Sealer(key_file)
    async with open_registry(url, REACTOR, sealer=sealer) as registry:
        yield Host(registry, sealer)


def challenge(name: str, token: str = "t") -> Challenge:
    return Challenge("dns-01", name, token, "v")


@pytest_twisted.ensureDeferred
async def test_challenges_are_shared_and_forgotten(url: str, tmp_path: Path) -> None:
    async with host(url, tmp_path / "key") as one, host(url, tmp_path / "key") as other:
        posted = [challenge("a.example"), challenge("a.example", "u"), challenge("b.example")]
        for each in posted:
            await one.vault.post_challenge(each)
        await one.vault.post_challenge(posted[0])
        assert set(await other.vault.challenges()) == set(posted)
        await other.vault.remove_challenge(posted[1])
        await other.vault.remove_challenge(posted[1])
        assert set(await one.vault.challenges()) == {posted[0], posted[2]}
        one.now += CHALLENGE_LIFE_SECONDS + 1
        assert await one.vault.challenges() == []
        await one.vault.post_challenge(posted[1])
        assert await other.vault.challenges() == [posted[1]]


@pytest_twisted.ensureDeferred
async def test_challenges_are_bounded(url: str, tmp_path: Path) -> None:
    async with host(url, tmp_path / "key") as one:

        def fill(connection: Any) -> None:
            for number in range(MAX_CHALLENGES):
                connection.execute(
                    text(
                        "INSERT INTO challenges (name, token, kind, value, created)"
                        " VALUES (:name, 't', 'dns-01', 'v', 1000000000)"
                    ),
                    {"name": f"n{number}.example"},
                )

        await one.registry.write(fill)
        with pytest.raises(StoreUnavailable, match="answered already"):
            await one.vault.post_challenge(challenge("more.example"))
        await one.vault.post_challenge(challenge("n7.example"))  # in place of itself


@pytest_twisted.ensureDeferred
async def test_certificates_are_followed_page_by_page(url: str, tmp_path: Path) -> None:
    async with host(url, tmp_path / "key") as one, host(url, tmp_path / "key") as other:
        assert await one.vault.certificates_since(0) == (0, [])
        for number in range(PAGE_CERTIFICATES + 2):
            await one.vault.keep_certificate(
                KeptPair(f"n{number}.example", b"pair %d" % number, "here")
            )
        revision, page = await other.vault.certificates_since(0)
        assert len(page) == PAGE_CERTIFICATES
        assert page[7] == KeptPair("n7.example", b"pair 7", "here")
        revision, page = await other.vault.certificates_since(revision)
        assert [pair.bundle for pair in page] == ["n100.example", "n101.example"]
        await one.vault.keep_certificate(KeptPair("n7.example", b"newer"))
        await one.vault.keep_certificate(KeptPair("n8.example", None))
        revision, page = await other.vault.certificates_since(revision)
        assert page == [KeptPair("n7.example", b"newer"), KeptPair("n8.example", None)]
        assert await other.vault.certificates_since(revision) == (revision, [])
        newest = KeptPair("n7.example", b"newest")
        await one.vault.keep_certificate(newest, before="left.n7.example")
        revision, page = await other.vault.certificates_since(revision)
        assert page == [KeptPair("left.n7.example", b"newer"), newest]


@pytest_twisted.ensureDeferred
async def test_what_was_dropped_is_forgotten_after_a_while(url: str, tmp_path: Path) -> None:
    async with host(url, tmp_path / "key") as one:
        for name, pem in (("a", b"pair"), ("b", None), ("c", None), ("b", b"again"), ("d", None)):
            await one.vault.keep_certificate(KeptPair(name, pem))
        last, before = await one.vault.certificates_since(0)
        assert {pair.bundle for pair in before} == {"a", "b", "c", "d"}
        one.now += DROPPED_LIFE_SECONDS
        await one.vault.forget_dropped()
        assert await one.vault.certificates_since(0) == (last, before)
        one.now += 1
        await one.vault.forget_dropped()
        # But for the last change: a follower that saw it must see the next one, too.
        _, after = await one.vault.certificates_since(0)
        assert [pair.bundle for pair in after] == ["a", "b", "d"]
        await one.vault.keep_certificate(KeptPair("e", b"pair"))
        _, newer = await one.vault.certificates_since(last)
        assert [pair.bundle for pair in newer] == ["e"]
        await one.vault.forget_dropped()
        _, after = await one.vault.certificates_since(0)
        assert [pair.bundle for pair in after] == ["a", "b", "e"]


@pytest_twisted.ensureDeferred
async def test_nothing_secret_lies_open(url: str, tmp_path: Path) -> None:
    async with host(url, tmp_path / "key") as one, host(url, tmp_path / "other") as stranger:
        assert await one.vault.secret("memory") is None
        await one.vault.keep_secret("memory", b"quack quack")
        await one.vault.keep_secret("memory", b"quack quack quack")
        origin = parse_origin("203.0.113.7")
        wanted = Registration("ducks", "a.example", origin, "owner@mail.example", "default")
        site, _ = await one.registry.register(wanted)
        await one.vault.keep_certificate(KeptPair("a.example", b"quack quack", "here"))
        (last, _) = await one.registry.trail(site.id)
        assert (last.act, last.details) == (
            Act.CERTIFICATE,
            {"bundle": "a.example", "authority": "here"},
        )
        assert await one.vault.secret("memory") == b"quack quack quack"
        await one.vault.keep_secret("zone:a_b", b"quack")
        await one.vault.keep_secret("zone:axb", b"quack quack")
        assert await one.vault.secrets("zone:a_") == {"zone:a_b": b"quack"}
        await one.vault.keep_secret("zone:a_b", None)
        assert await one.vault.secrets("zone:a_") == {}

        def everything(connection: Any) -> bytes:
            tables = ("acme", "certificates")
            rows = [connection.execute(text(f"SELECT sealed FROM {t}")).all() for t in tables]
            return b"".join(bytes(row[0]) for found in rows for row in found)

        assert b"quack" not in await one.registry.read(everything)
        with pytest.raises(StoreUnavailable, match="cannot read"):
            await stranger.vault.certificates_since(0)


@pytest_twisted.ensureDeferred
async def test_a_registry_has_one_key_and_nobody_makes_another(url: str, tmp_path: Path) -> None:
    key, other_key = tmp_path / "key", tmp_path / "other"
    Sealer(other_key).seal(b"", b"")
    async with host(url, key) as first, host(url, other_key) as stranger:
        assert await stranger.vault.secret("memory") is None
        await first.vault.keep_secret("memory", b"quack")
        # Both were there before anything was sealed.
        for use in (stranger.vault.keep_secret("own", b"quack"), stranger.vault.secret("memory")):
            with pytest.raises(StoreUnavailable, match=r"other holds the key .* copy the file"):
                await use
        assert await first.vault.secrets("") == {"memory": b"quack"}
    key.rename(tmp_path / "lost")
    async with host(url, key) as without:
        await without.vault.post_challenge(challenge("a.example"))  # no secret
        for use in (without.vault.keep_secret("own", b"quack"), without.vault.secret("memory")):
            with pytest.raises(StoreUnavailable, match=r"cannot read .* or from a backup"):
                await use
        assert not key.exists()
        (tmp_path / "lost").rename(key)
        assert await without.vault.secret("memory") == b"quack"


@pytest_twisted.ensureDeferred
async def test_a_lease_is_one_hosts(url: str, tmp_path: Path) -> None:
    async with host(url, tmp_path / "key") as one, host(url, tmp_path / "key") as other:
        assert await one.vault.lease("work", "one", 60)
        assert not await other.vault.lease("work", "other", 60)
        assert await other.vault.lease("play", "other", 60)
        one.now += 50
        assert await one.vault.lease("work", "one", 60)
        other.now += 61
        assert not await other.vault.lease("work", "other", 60)
        await other.vault.release("work", "other")
        assert not await other.vault.lease("work", "other", 60)
        other.now += 50
        assert await other.vault.lease("work", "other", 60)
        await other.vault.release("work", "other")
        assert await one.vault.lease("work", "one", 60)


@pytest_twisted.ensureDeferred
async def test_an_account_gets_another_key_as_a_whole(url: str, tmp_path: Path) -> None:
    async with host(url, tmp_path / "key") as one:
        for _ in range(2):
            await one.vault.wish_account_keys(by=COMMAND_LINE)
        assert await one.vault.wishes() == [ACCOUNT_KEYS]
        assert not await one.vault.wish_account_keys(by=COMMAND_LINE, every_seconds=600)
        await one.vault.keep_secret("account.a", b"old")
        await one.vault.keep_secret("next.account.a", b"new")
        await one.vault.replace_account_key("account.a", "next.account.a", b"new")
        assert await one.vault.secret("account.a") == b"new"
        assert await one.vault.secret("next.account.a") is None
        trail = await one.registry.read(lambda connection: audit.page(connection, None, None, 9))
        assert [(entry.act, entry.details["step"]) for entry in trail] == [
            (Act.ACCOUNT_KEY, "changed"),
            (Act.ACCOUNT_KEY, "wanted"),
            (Act.ACCOUNT_KEY, "wanted"),
        ]
        await one.vault.fulfilled(ACCOUNT_KEYS)
        assert await one.vault.wishes() == []
