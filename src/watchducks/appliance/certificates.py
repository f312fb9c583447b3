"""Certificates by ACME, as parts: what answers authorities, and who asks them."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Final

from watchducks.appliance.house import House, Reactor
from watchducks.appliance.sites import open_registry
from watchducks.certificates.board import SETTLE_SECONDS, SharedBoard
from watchducks.certificates.files import CertificateFiles
from watchducks.certificates.given import GivenCertificates
from watchducks.edges.fleet import Fleet
from watchducks.model.challenges import Answers
from watchducks.registry.feed import SiteFeed
from watchducks.registry.mailbag import Mailbag
from watchducks.registry.registry import Registry
from watchducks.registry.sealing import Sealer
from watchducks.registry.vault import Vault
from watchducks.settings import AuthoritySettings, Settings
from watchducks.stores.interfaces import Cache

if TYPE_CHECKING:
    from watchducks.appliance.happenings import Notes

# Until the edges of this host have heard of a challenge: a message over a local socket, to
# processes that may be busy.
EDGES_SECONDS: Final = 0.5
# What challenges are called on the board that edges read.
EDGES_BOARD: Final = "challenges"
# Likewise, how often certificates were written.
EDGES_FILES: Final = "certificates"


@dataclass(frozen=True)
class Acme:
    """What the roles share where certificates are made.

    :ivar answers: what certificate authorities are answered by this process.
    """

    vault: Vault
    answers: Answers
    board: SharedBoard


async def start_the_challenges(house: House, registry: Registry, cache: Cache) -> Acme | None:
    """Follow what certificate authorities may ask for; None: nobody asks."""
    settings = house.settings
    if not settings.certificates.directory:
        return None
    vault = Vault(registry, house.sealer, now=time.time)
    answers = Answers()
    # Nobody else has to hear of a challenge where this process alone is asked for it.
    asked = "nameserver" if settings.certificates.challenge == "dns-01" else "proxy"
    alone = settings.registry.url.startswith("sqlite:") and asked in settings.node.roles
    settle = SETTLE_SECONDS
    if alone:
        settle = EDGES_SECONDS if settings.has_edges else 0.0
    board = SharedBoard(
        vault,
        cache,
        answers,
        clock=house.reactor,
        settle_seconds=settle,
    )
    await house.run("the challenges", board)
    return Acme(vault, answers, board)


@asynccontextmanager
async def open_vault(settings: Settings, reactor: Reactor) -> AsyncIterator[Vault]:
    """Give the vault, for a command. :raises StartupError: the registry cannot be opened."""
    sealer = Sealer(settings.key_file)
    async with open_registry(settings, reactor, sealer) as registry:
        yield Vault(registry, sealer, now=reactor.seconds)


async def start_the_files(
    house: House, cache: Cache, acme: Acme, written: Callable[[], None] = lambda: None
) -> None:
    """Have the registry's certificates where the proxies of this host find them.

    :param written: called when there is something new.
    """
    files = CertificateFiles(
        acme.vault,
        house.settings.node.data_dir / "certificates",
        written,
        cache,
        pool=await house.pool("written certificates"),
        clock=house.reactor,
    )
    await house.run("the certificates of the registry", files)


async def watch_the_given(house: House, registry: Registry) -> None:
    """Tell when certificates end that the sysadmin gave this host as files."""
    given = GivenCertificates(
        house.settings.node.data_dir / "certificates",
        registry,
        Mailbag(registry, clock=house.reactor),
        house.settings.security.admins,
        pool=await house.pool("given certificates"),
        clock=house.reactor,
        now=time.time,
    )
    await house.run("the notices of certificates in files", given)
    house.measure(given.samples)


def tell_edges(acme: Acme, fleet: Fleet) -> None:
    """Have the edges answer authorities as well."""

    def tell(_: object) -> None:
        fleet.post(EDGES_BOARD, [astuple(one) for one in acme.answers.all])

    acme.answers.on_change(tell)


def tell_of_files(fleet: Fleet) -> Callable[[], None]:
    """Return what has the edges look for certificates that were written just now."""
    written = itertools.count(1)

    def tell() -> None:
        fleet.post(EDGES_FILES, next(written))

    return tell


async def start_the_keeper(
    house: House, registry: Registry, feed: SiteFeed, cache: Cache, acme: Acme, notes: Notes
) -> None:
    """Have certificates made; everybody who answers for them runs already."""
    from watchducks.appliance.happenings import NotedProgress
    from watchducks.certificates.acme.client import Binding, Client
    from watchducks.certificates.acme.libraries import AccountKey, Responder
    from watchducks.certificates.acme.opening import Connections
    from watchducks.certificates.authorities import Place, account_name
    from watchducks.certificates.expiry import ExpiryNotices
    from watchducks.certificates.keeper import Keeper
    from watchducks.certificates.measures import samples
    from watchducks.certificates.report import report

    settings = house.settings.certificates

    async def place(authority: AuthoritySettings) -> Place:
        connections = Connections(authority.ca_file, reactor=house.reactor)
        await house.run(f"the connections to {authority.directory}", connections)

        def open_account(key: AccountKey) -> Client:
            return Client(
                connections.session(authority.directory, key),
                Responder(settings.challenge, acme.board),
                contact=settings.contact,
                clock=house.reactor,
                binding=(
                    Binding(authority.eab_kid, authority.eab_key) if authority.eab_kid else None
                ),
                preferred_issuer=authority.preferred_chain,
            )

        return Place(account_name(authority.directory), open_account)

    keeper = Keeper(
        acme.vault,
        cache,
        [await place(authority) for authority in settings.authorities],
        NotedProgress(registry, notes),
        names_per_certificate=settings.names_per_certificate,
        rules=house.settings.cutover_rules,
        clock=house.reactor,
        now=time.time,
        turn_seconds=house.pace.turn_seconds,
        lease_seconds=house.pace.lease_seconds,
        fallback_seconds=house.pace.fallback_seconds,
    )
    await feed.follow(keeper.apply)
    await house.run("the keeper of certificates", keeper)
    house.measure(lambda: samples(keeper))
    house.report("certificates", lambda: report(keeper, time.time()))
    notices = ExpiryNotices(
        keeper.holdings,
        keeper.groups,
        registry,
        Mailbag(registry, clock=house.reactor),
        clock=house.reactor,
        now=time.time,
    )
    await house.run("the notices of certificates that end", notices)
