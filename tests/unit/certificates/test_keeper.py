"""The keeper with an authority made by hand: what it orders, when, and what it does with errors."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.nameserver.fakes import changed, site
from watchducks.certificates.acme.errors import (
    AcmeError,
    RateLimited,
    Reason,
    Rejected,
    Unavailable,
)
from watchducks.certificates.acme.libraries import AccountKey, new_key
from watchducks.certificates.acme.session import Answer
from watchducks.certificates.authorities import FIRST_PAUSE_SECONDS, Place
from watchducks.certificates.keeper import (
    AT_ONCE,
    DROP_SECONDS,
    FORGET_SECONDS,
    LEASE,
    Keeper,
)
from watchducks.certificates.orders import RATE_LIMIT_SECONDS, REFUSED_SECONDS
from watchducks.certificates.pairs import names_of
from watchducks.certificates.plan import (
    COUNTED_SECONDS,
    FALLBACK_SECONDS,
    LEASE_SECONDS,
    MAX_FAILED_AN_HOUR,
    RETRY_SECONDS,
    TURN_SECONDS,
)
from watchducks.certificates.windows import NO_WINDOW_SECONDS
from watchducks.model.certificates import ACCOUNT_KEYS, CertificateProgress, KeptPair, Trouble, Wish
from watchducks.model.cutover import CutoverRules
from watchducks.model.sites import Site, SiteState
from watchducks.stores.interfaces import StoreUnavailable
from watchducks.stores.memory import MemoryCache

DAY = 86_400.0
BEGIN = 1_800_000_000.0


class Store:
    """A vault and a registry in memory. :ivar away: every call fails.
    :ivar closed: the key is missing that opens what is there.
    :ivar leases: who has what."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.log: list[KeptPair] = []
        self.forgot = 0
        self.away = self.closed = False
        self.leases: dict[str, str] = {}
        self.progress: dict[int, CertificateProgress] = {}
        self.wanted: list[Wish] = []

    async def certificates_since(self, revision: int) -> tuple[int, list[KeptPair]]:
        self._answer()
        return len(self.log), self.log[revision:]

    async def keep_certificate(self, pair: KeptPair, *, before: str = "") -> None:
        self._answer()
        if before:
            present = next(one for one in reversed(self.log) if one.bundle == pair.bundle)
            self.log.append(replace(present, bundle=before))
        self.log.append(pair)

    async def secret(self, name: str) -> bytes | None:
        self._answer()
        if self.closed:
            raise StoreUnavailable("another key")
        return self.kept.get(name)

    async def secrets(self, prefix: str) -> dict[str, bytes]:
        self._answer()
        return {name: one for name, one in self.kept.items() if name.startswith(prefix)}

    async def keep_secret(self, name: str, secret: bytes | None) -> None:
        self._answer()
        self.kept.pop(name, None)
        if secret is not None:
            self.kept[name] = secret

    async def lease(self, name: str, holder: str, seconds: int) -> bool:
        self._answer()
        return self.leases.setdefault(name, holder) == holder

    async def release(self, name: str, holder: str) -> None:
        self._answer()
        if self.leases.get(name) == holder:
            del self.leases[name]

    async def forget_dropped(self) -> None:
        self._answer()
        self.forgot += 1

    async def wishes(self) -> list[Wish]:
        self._answer()
        return list(self.wanted)

    async def fulfilled(self, wish: Wish) -> None:
        self._answer()
        if wish in self.wanted:
            self.wanted.remove(wish)

    async def replace_account_key(self, name: str, announced: str, pem: bytes) -> None:
        self._answer()
        self.kept[name] = pem
        self.kept.pop(announced, None)

    async def keep_certificate_progress(
        self, rules: Mapping[int, Callable[[CertificateProgress], CertificateProgress]]
    ) -> None:
        self._answer()
        for site_id, rule in rules.items():
            self.progress[site_id] = rule(self.progress.get(site_id, CertificateProgress()))

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


class Authority:
    """:ivar refuses: raises for an order of these names, or does nothing.
    :ivar hangs: orders are never completed.
    :ivar window: what is said of renewals.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.refuses: Callable[[Sequence[str]], None] = lambda _: None
        self.hangs = False
        self.window: dict[str, str] | None = None
        self.orders: list[tuple[str, ...]] = []
        self.replaced: list[str] = []
        self.completed: list[str] = []
        self.revoked: list[str] = []
        self.accounts: list[bytes] = []
        self.days = 90.0
        self.changed: list[bytes] = []

    async def has_account(self) -> bool:
        return False

    async def change_key(self, new: AccountKey) -> None:
        self.changed.append(new.pem())

    async def order(self, names: Sequence[str], *, replaces: str = "") -> str:
        self.orders.append(tuple(names))
        self.replaced.append(replaces)
        return f"https://ca.example/order/{len(self.orders)}"

    async def complete(self, url: str, names: Sequence[str], key: Any) -> bytes:
        self.completed.append(url)
        if self.hangs:
            await Deferred()
        self.refuses(names)
        begin = datetime.datetime.fromtimestamp(self._now(), datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(x509.Name([]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + datetime.timedelta(days=self.days))
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
            )
            .add_extension(x509.AuthorityKeyIdentifier(b"ca", None, None), critical=False)
            .sign(new_key(), hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    async def revoke(self, leaf: x509.Certificate, reason: int) -> None:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.revoked += names.get_values_for_type(x509.DNSName)

    async def renewal_info(self, renewal_id: str) -> Answer | None:
        if self.window is None:
            return None
        window = str({"suggestedWindow": self.window}).replace("'", '"')
        return Answer(200, window.encode(), "", {}, 3600.0)


class World:
    def __init__(self, per_certificate: int = 1, *, fallback: bool = False) -> None:
        self.clock = Clock()
        self.clock.advance(BEGIN)
        self.store = Store()
        self.authority = Authority(self.clock.seconds)
        self.fallback = Authority(self.clock.seconds)
        self.places = [Place("account", self._open_account)]
        if fallback:
            self.places.append(Place("other", lambda _: self.fallback))
        self.per_certificate = per_certificate
        self.sites: dict[str, Site] = {}
        self.keeper = self.new_keeper()

    def new_keeper(self) -> Keeper:
        keeper = Keeper(
            self.store,
            MemoryCache(self.clock),
            self.places,
            self.store,
            names_per_certificate=self.per_certificate,
            rules=CutoverRules(acme=True),
            clock=self.clock,
            now=self.clock.seconds,
        )
        keeper.apply(changed(list(self.sites.values())))
        return keeper

    def _open_account(self, key: AccountKey) -> Authority:
        self.authority.accounts.append(key.pem())
        return self.authority

    def put(self, zone: str, id_: int, state: SiteState = SiteState.REGISTERED) -> None:
        self.sites[zone] = replace(site(zone), id=id_, state=state)
        self.keeper.apply(changed([self.sites[zone]]))

    def remove(self, zone: str) -> None:
        del self.sites[zone]
        self.keeper.apply(changed(removed=[zone]))

    def start(self) -> None:
        _ = Deferred.fromCoroutine(self.keeper.start())
        self.pass_time(0)

    def stop(self) -> None:
        _ = Deferred.fromCoroutine(self.keeper.stop())

    def restart(self, *, killed: bool = False) -> None:
        """Go on with another keeper, the first one stopped well or not at all."""
        if killed:
            self.store.away = True
        self.stop()
        self.store.away = False
        self.keeper = self.new_keeper()
        self.start()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the keeper have its turn at the end of it."""
        self.clock.advance(seconds)
        self.clock.advance(TURN_SECONDS)
        self.clock.advance(0)

    def held(self) -> dict[str, bytes]:
        last = {pair.bundle: pair.pem for pair in self.store.log}
        return {bundle: pem for bundle, pem in last.items() if pem is not None}


@pytest.fixture
def world() -> World:
    return World()


def names(zone: str) -> tuple[str, str]:
    return zone, f"www.{zone}"


def test_each_site_gets_one_and_then_peace(world: World) -> None:
    world.put("a.example", 1)
    world.put("b.example", 2)
    world.start()
    assert world.authority.orders == [names("a.example"), names("b.example")]
    world.pass_time(3600)
    assert len(world.authority.orders) == 2
    world.put("c.example", 3)
    world.clock.advance(0)
    assert world.authority.orders[-1] == names("c.example")
    assert world.held().keys() == {"a.example", "b.example", "c.example"}


def test_renewal_at_two_thirds_names_what_it_replaces(world: World) -> None:
    world.put("a.example", 1)
    world.start()
    world.pass_time(50 * DAY)
    assert len(world.authority.orders) == 1
    world.pass_time(10 * DAY)
    assert len(world.authority.orders) == 2
    assert world.authority.replaced[0] == ""
    assert world.authority.replaced[1].startswith("Y2E.")


def test_renewal_in_the_authoritys_window(world: World) -> None:
    world.put("a.example", 1)
    world.start()
    day = datetime.datetime.fromtimestamp(BEGIN + 10 * DAY, datetime.UTC).isoformat()
    world.authority.window = {"start": day, "end": day}
    world.pass_time(9 * DAY)
    assert len(world.authority.orders) == 1
    world.pass_time(DAY)
    assert len(world.authority.orders) == 2


def test_certificates_of_six_days(world: World) -> None:
    world.authority.days = 6
    world.put("a.example", 1)
    world.start()
    for _ in range(22):
        world.pass_time(DAY / 2)
    assert len(world.authority.orders) == 3  # at the start, and each time after 3.7 to 4 days


def test_a_bad_name_spoils_no_other(world: World) -> None:
    world = World(per_certificate=10)

    def refuse(ordered: Sequence[str]) -> None:
        bad = {
            name: Reason("dns", "no such name") for name in ordered if name.endswith("b.example")
        }
        if bad:
            raise Rejected(bad)

    world.authority.refuses = refuse
    world.put("a.example", 1)
    world.put("b.example", 2)
    world.start()
    assert world.authority.orders == [
        (*names("a.example"), *names("b.example")),
        names("a.example"),
    ]
    world.pass_time(RETRY_SECONDS[0])
    assert world.authority.orders[2:] == [names("b.example")]
    world.authority.refuses = lambda _: None
    world.pass_time(RETRY_SECONDS[1])
    assert world.authority.orders[3:] == [
        names("b.example"),
        (*names("a.example"), *names("b.example")),
    ]
    assert world.held().keys() == {"bundle.10.0", "b.example"}
    world.pass_time(DROP_SECONDS)
    assert len(world.authority.orders) == 5
    assert world.held().keys() == {"bundle.10.0"}
    assert not world.authority.revoked  # its names are in use


@pytest.mark.parametrize("per_certificate", [1, 10])
def test_a_name_that_fails_at_its_renewal_keeps_what_it_has(per_certificate: int) -> None:
    world = World(per_certificate)
    failing = "www.b.example"

    def refuse(ordered: Sequence[str]) -> None:
        if failing in ordered:
            raise Rejected({failing: Reason("dns", "no such name")})

    def good_for(name: str) -> list[bytes]:
        now = datetime.datetime.fromtimestamp(world.clock.seconds(), datetime.UTC)
        found = [(pem, x509.load_pem_x509_certificate(pem)) for pem in world.held().values()]
        return [
            pem for pem, leaf in found if leaf.not_valid_after_utc > now and name in names_of(leaf)
        ]

    world.put("a.example", 1)
    world.put("b.example", 2)
    world.start()
    world.authority.refuses = refuse
    world.pass_time(61 * DAY)
    # All others are renewed at once, and it has its own for as long as that is good.
    for days in (0, 1, 27):
        world.pass_time(days * DAY)
        assert all(good_for(name) for name in (*names("a.example"), *names("b.example")))
    assert any(bundle.startswith("left.") for bundle, _ in world.keeper.holdings.items())
    world.restart()
    world.pass_time(DROP_SECONDS)
    assert good_for(failing)
    assert not world.authority.revoked
    # Until it has another one, or is over.
    world.authority.refuses = lambda _: None
    world.pass_time(DAY)
    world.pass_time(DROP_SECONDS)
    assert [name for name in world.held() if name.startswith("left.")] == []
    assert good_for(failing)
    assert not world.authority.revoked


def test_failures_outlive_a_restart(world: World) -> None:
    def refuse(ordered: Sequence[str]) -> None:
        raise Rejected(dict.fromkeys(ordered, Reason("caa", "no")))

    world.authority.refuses = refuse
    world.put("a.example", 1)
    world.start()
    world.restart()
    assert len(world.authority.orders) == 1
    world.pass_time(RETRY_SECONDS[0])
    assert len(world.authority.orders) == 2
    assert len(set(world.authority.accounts)) == 1


def test_who_asks_is_served_at_once_but_never_beyond_the_limit_of_an_hour(world: World) -> None:
    def refuse(ordered: Sequence[str]) -> None:
        raise Rejected(dict.fromkeys(ordered, Reason("caa", "no")))

    world.authority.refuses = refuse
    world.put("a.example", 1)
    world.start()
    for clicks in range(10):
        world.store.wanted = [Wish("a.example"), Wish("nobody.example")]
        world.pass_time(0)
        assert not world.store.wanted
        assert len(world.authority.orders) == min(clicks + 2, MAX_FAILED_AN_HOUR)
    told = world.store.progress[1]
    assert told.soonest == BEGIN + COUNTED_SECONDS
    world.restart()
    world.store.wanted = [Wish("a.example")]
    world.pass_time(0)
    assert len(world.authority.orders) == MAX_FAILED_AN_HOUR
    world.authority.refuses = lambda _: None
    world.pass_time(COUNTED_SECONDS - 60)
    assert world.held().keys() == {"a.example"}


def test_asking_makes_nobody_break_a_rate_limit(world: World) -> None:
    def refuse(_: Sequence[str]) -> None:
        raise RateLimited("slowly", retry_seconds=900.0)

    world.authority.refuses = refuse
    world.put("a.example", 1)
    world.start()
    world.store.wanted = [Wish("a.example")]
    world.pass_time(0)
    assert len(world.authority.completed) == 1
    told = world.store.progress[1]
    assert told.retry == told.soonest == BEGIN + 900


def test_accounts_get_other_keys_while_no_order_is_under_way(world: World) -> None:
    world.authority.hangs = True
    world.put("a.example", 1)
    world.start()
    world.store.wanted = [ACCOUNT_KEYS]
    world.put("b.example", 2)
    world.pass_time(0)
    assert not world.authority.changed, "an order is under way"
    world.authority.hangs = False
    world.restart()
    world.pass_time(0)
    assert world.authority.changed == [world.store.kept["account"]]
    assert not world.store.wanted
    world.pass_time(3600)
    assert len(world.authority.changed) == 1
    assert world.held().keys() == {"a.example", "b.example"}


def test_what_was_announced_is_settled_before_anything_is_ordered(world: World) -> None:
    world.store.kept["next.account"] = AccountKey.generate().pem()
    world.put("a.example", 1)
    world.start()
    assert world.authority.changed == [world.store.kept["account"]]
    assert "next.account" not in world.store.kept
    world.pass_time(0)
    assert world.held().keys() == {"a.example"}


def test_a_rejection_of_no_name_of_ours_makes_all_wait(world: World) -> None:
    def refuse(_: Sequence[str]) -> None:
        raise Rejected({"": Reason("", "odd")})

    world.authority.refuses = refuse
    world.put("a.example", 1)
    world.start()
    assert len(world.authority.orders) == 1


def test_an_order_goes_on_after_a_restart(world: World) -> None:
    world.authority.hangs = True
    world.put("a.example", 1)
    world.start()
    world.stop()
    world.authority.hangs = False
    world.keeper = world.new_keeper()
    world.start()
    assert len(world.authority.orders) == 1
    assert world.authority.completed == ["https://ca.example/order/1"] * 2
    assert world.held().keys() == {"a.example"}


def test_an_order_of_a_site_that_left_is_forgotten(world: World) -> None:
    world.authority.hangs = True
    world.put("a.example", 1)
    world.start()
    world.stop()
    world.authority.hangs = False
    world.sites.clear()
    world.keeper = world.new_keeper()
    world.start()
    assert world.authority.completed == ["https://ca.example/order/1"]
    assert not world.held()


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (RateLimited("slowly", retry_seconds=120.0), 120.0),
        (RateLimited("slowly"), RATE_LIMIT_SECONDS),
        (Unavailable("away"), FIRST_PAUSE_SECONDS),
        (Unavailable("away", retry_seconds=0.0), FIRST_PAUSE_SECONDS),
        (Unavailable("away", retry_seconds=300.0), 300.0),
        (AcmeError("unknown", kind="accountDoesNotExist"), REFUSED_SECONDS),
        (AcmeError('no "a.example"', kind="rejectedIdentifier"), RETRY_SECONDS[0]),
    ],
)
def test_errors_and_when_it_goes_on(world: World, error: AcmeError, seconds: float) -> None:
    def refuse(_: Sequence[str]) -> None:
        raise error

    world.authority.refuses = refuse
    world.put("a.example", 1)
    world.start()
    asked = len(world.authority.completed)
    world.authority.refuses = lambda _: None
    world.clock.advance(seconds - TURN_SECONDS - 1)
    if "rejected" not in error.kind:
        assert len(world.authority.completed) == asked
        assert not world.held()
    world.pass_time(TURN_SECONDS + 1)
    world.pass_time(TURN_SECONDS)
    assert world.held().keys() == {"a.example"}


def test_a_site_that_left_is_revoked_and_dropped_after_a_while(world: World) -> None:
    world.put("a.example", 1)
    world.start()
    world.remove("a.example")
    world.pass_time(0)  # now it is noticed
    world.pass_time(DROP_SECONDS - 3 * TURN_SECONDS)
    assert world.held()
    world.pass_time(2 * TURN_SECONDS)
    assert not world.held()
    assert world.authority.revoked == ["a.example", "www.a.example"]


def test_a_site_that_moved_keeps_what_it_has_and_gets_nothing_new(world: World) -> None:
    world.put("a.example", 1)
    world.start()
    world.put("a.example", 1, SiteState.MOVED)
    world.pass_time(80 * DAY)
    assert world.held()
    assert len(world.authority.orders) == 1
    assert not world.authority.revoked


def test_only_one_keeper_works(world: World) -> None:
    world.put("a.example", 1)
    world.store.leases[LEASE] = "elsewhere"
    world.start()
    assert not world.authority.orders
    world.store.leases.clear()
    world.pass_time(0)
    assert len(world.authority.orders) == 1


def test_who_cannot_open_what_is_there_leaves_it_to_others(world: World) -> None:
    world.put("a.example", 1)
    world.store.closed = True
    world.start()
    assert (world.authority.orders, world.store.leases) == ([], {})
    world.store.closed = False
    world.pass_time(0)
    assert len(world.authority.orders) == 1


def test_a_store_that_is_away(world: World) -> None:
    world.put("a.example", 1)
    world.store.away = True
    world.start()
    world.store.away = False
    world.pass_time(0)
    assert world.held().keys() == {"a.example"}


def test_what_cannot_be_read_is_made_anew(world: World) -> None:
    world.put("a.example", 1)
    world.store.log.append(KeptPair("a.example", b"-----END CERTIFICATE-----\njunk"))
    world.start()
    assert len(world.authority.orders) == 1


def test_a_window_in_the_past_does_not_make_us_order_without_end(world: World) -> None:
    past = datetime.datetime.fromtimestamp(BEGIN - DAY, datetime.UTC).isoformat()
    world.authority.window = {"start": past, "end": past}
    world.put("a.example", 1)
    world.start()
    for _ in range(int(DAY / NO_WINDOW_SECONDS)):
        world.pass_time(NO_WINDOW_SECONDS)
    assert 3 <= len(world.authority.orders) <= 5


def test_what_the_owner_sees(world: World) -> None:
    world.put("a.example", 1)
    world.authority.hangs = True
    world.start()
    assert world.store.progress[1] == CertificateProgress(ordered=int(BEGIN))
    world.restart()
    world.authority.hangs = False

    def refuse(ordered: Sequence[str]) -> None:
        raise Rejected({ordered[1]: Reason("caa", "forbidden")})

    world.authority.refuses = refuse
    world.restart()
    found = world.store.progress[1]
    assert (found.trouble, found.host, found.words) == (Trouble.CAA, "www.a.example", "forbidden")
    assert found.retry == found.failed + RETRY_SECONDS[0]
    # The other name has its certificate meanwhile.
    world.authority.refuses = lambda ordered: None if len(ordered) == 1 else refuse(ordered)
    world.pass_time(0)
    assert world.authority.orders[-1] == ("a.example",)
    world.authority.refuses = lambda _: None
    world.pass_time(RETRY_SECONDS[0])
    found = world.store.progress[1]
    assert found.trouble is Trouble.NONE
    assert found.expires - found.issued == 90 * DAY


def trouble(world: World) -> Trouble:
    return world.store.progress[1].trouble


def test_a_second_authority_stands_in_and_the_first_comes_back() -> None:
    world = World(fallback=True)

    def refuse(_: Sequence[str]) -> None:
        raise RateLimited("slowly", retry_seconds=7200.0)

    world.authority.refuses = refuse
    world.put("a.example", 1)
    world.start()
    assert not world.held()
    assert trouble(world) is Trouble.RATE_LIMITED
    world.pass_time(FALLBACK_SECONDS - 3 * TURN_SECONDS)
    assert not world.held()
    world.restart()  # it is remembered who refused, and since when
    world.pass_time(TURN_SECONDS)
    assert world.held().keys() == {"a.example"}
    assert world.fallback.orders == [names("a.example")]
    assert trouble(world) is Trouble.NONE
    world.authority.refuses = lambda _: None
    world.pass_time(70 * DAY)
    assert len(world.fallback.orders) == 1
    assert world.authority.replaced == ["", ""]  # it is no certificate of its own that it renews


def test_after_a_kill_the_next_one_waits_for_the_lease_and_takes_the_order_up(world: World) -> None:
    world.authority.hangs = True
    world.put("a.example", 1)
    world.start()
    world.restart(killed=True)
    world.authority.hangs = False
    assert len(world.authority.completed) == 1
    world.store.leases.clear()  # it has run out
    world.pass_time(0)
    assert world.authority.completed == ["https://ca.example/order/1"] * 2
    assert len(world.authority.orders) == 1
    assert LEASE_SECONDS > 2 * TURN_SECONDS


def test_orders_are_bounded_and_go_on_as_others_end(world: World) -> None:
    world.authority.hangs = True
    for number in range(1, 40):
        world.put(f"s{number}.example", number)
    world.start()
    assert len(world.authority.orders) == AT_ONCE
    world.authority.hangs = False
    world.restart()
    assert len(world.held()) == 39
    assert len(world.authority.orders) == 39


def test_what_was_dropped_is_forgotten_now_and_then(world: World) -> None:
    world.put("a.example", 1)
    world.start()
    for _ in range(20):
        world.pass_time(FORGET_SECONDS / 10)
    assert world.store.forgot == 3


def test_what_failed_of_a_site_that_left_is_forgotten(world: World) -> None:
    def refuse(ordered: Sequence[str]) -> None:
        raise Rejected(dict.fromkeys(ordered, Reason("dns", "no")))

    world.authority.refuses = refuse
    world.put("a.example", 1)
    world.start()
    world.authority.refuses = lambda _: None
    world.put("b.example", 2)
    world.pass_time(0)
    assert any("a.example" in name for name in world.store.kept)
    world.remove("a.example")
    world.pass_time(DROP_SECONDS)
    assert world.store.kept.keys() == {"account"}
