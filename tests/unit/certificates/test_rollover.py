"""Other keys for accounts, with a store and an authority that break off anywhere."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import pytest_twisted

from watchducks.certificates.acme.errors import AcmeError, Unavailable
from watchducks.certificates.acme.libraries import AccountKey
from watchducks.certificates.authorities import Authorities, Place, announced_name
from watchducks.certificates.rollover import AGAIN_SECONDS, Rollovers
from watchducks.model.certificates import ACCOUNT_KEYS, Wish
from watchducks.stores.interfaces import StoreUnavailable

NOW = 1e9


class Killed(Exception):
    """The process ends here."""


class World:
    """:ivar holds: the key of the account at the authority.
    :ivar steps: what is done before it is over; each write and each request is one.
    """

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.holds = b""
        self.steps = 1_000
        self.dies: type[Exception] = Killed
        self.refuses: AcmeError | None = None
        self.loses_answers = False
        self.fulfilments = 0
        self.now = NOW

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise self.dies("now")

    async def secret(self, name: str) -> bytes | None:
        return self.kept.get(name)

    async def keep_secret(self, name: str, secret: bytes | None) -> None:
        self.step()
        self.kept.pop(name, None)
        if secret is not None:
            self.kept[name] = secret

    async def replace_account_key(self, name: str, announced: str, pem: bytes) -> None:
        self.step()
        self.kept[name] = pem
        del self.kept[announced]

    async def fulfilled(self, wish: Wish) -> None:
        assert wish == ACCOUNT_KEYS
        self.step()
        self.fulfilments += 1

    async def opened(self) -> tuple[Authorities, Rollovers]:
        """Return what a process that begins now has."""
        opens: Any = lambda key: Account(self, key)  # noqa: E731
        authorities = Authorities([Place("account", opens)], self)
        await authorities.open()
        rollovers = Rollovers(authorities, self, now=lambda: self.now)
        rollovers.took_over()
        return authorities, rollovers


class Account:
    def __init__(self, world: World, key: AccountKey) -> None:
        self.world = world
        self.key = key

    async def has_account(self) -> bool:
        self.world.step()
        return self.world.holds == self.key.pem()

    async def change_key(self, new: AccountKey) -> None:
        self.world.step()
        assert self.world.holds == self.key.pem(), "an account would be made by accident"
        if self.world.refuses is not None:
            raise self.world.refuses
        self.world.holds = new.pem()
        self.world.step()  # the answer
        if self.world.loses_answers:
            raise Unavailable("gone")
        self.key = new


async def begun() -> tuple[World, Authorities, Rollovers]:
    world = World()
    authorities, rollovers = await world.opened()
    world.holds = world.kept["account"]
    return world, authorities, rollovers


async def change(rollovers: Rollovers) -> None:
    rollovers.want()
    assert rollovers.due()
    assert rollovers.begin()
    await rollovers.change()


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("dies", [Killed, StoreUnavailable])
@pytest_twisted.ensureDeferred
async def test_wherever_it_is_broken_off_the_store_has_the_key(
    steps: int, dies: type[Exception]
) -> None:
    world, _, rollovers = await begun()
    before = world.holds
    world.steps, world.dies = steps, dies
    with contextlib.suppress(Killed):
        await change(rollovers)
    assert world.holds in world.kept.values()
    world.steps = 1_000
    authorities, again = await world.opened()  # after the restart
    if again.due():
        assert again.begin()
        await again.change()
    assert world.kept == {"account": world.holds}
    (place,) = authorities.all()
    assert not place.unsettled
    assert await place.authority.has_account()
    assert (world.holds == before) is (steps == 0)


@pytest_twisted.ensureDeferred
async def test_an_answer_that_is_lost_is_asked_for_again() -> None:
    world, authorities, rollovers = await begun()
    world.loses_answers = True
    await change(rollovers)
    assert not rollovers.due()
    place, until = authorities.choose({}, world.now, urgent=True)
    assert (place, world.fulfilments) == (None, 0)
    world.now += AGAIN_SECONDS
    assert until <= world.now
    assert rollovers.due()
    assert rollovers.begin()
    await rollovers.change()
    assert (world.kept, world.fulfilments) == ({"account": world.holds}, 1)
    assert not rollovers.due()


@pytest_twisted.ensureDeferred
async def test_who_refuses_leaves_the_old_key() -> None:
    world, authorities, rollovers = await begun()
    before = world.holds
    world.refuses = AcmeError("no")
    await change(rollovers)
    assert world.kept == {"account": before}
    assert announced_name("account") not in world.kept
    assert (world.fulfilments, rollovers.due()) == (1, False)
    assert await authorities.all()[0].authority.has_account()


@pytest_twisted.ensureDeferred
async def test_nothing_begins_while_it_lasts() -> None:
    _, _, rollovers = await begun()
    assert not rollovers.due()
    rollovers.want()
    assert rollovers.begin()
    assert rollovers.due()
    assert not rollovers.begin()
