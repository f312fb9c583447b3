"""The responder with its guard: cookies, amplification, rate limits, what tells servers apart."""

from __future__ import annotations

import ipaddress
import struct

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from twisted.internet.task import Clock

from tests.unit.nameserver.fakes import (
    PROXY4,
    PROXY6,
    FixedVerdicts,
    changed,
    rdatas,
    site,
    zone_table,
)
from watchducks.nameserver import replies as module
from watchducks.nameserver.cookies import Cookies
from watchducks.nameserver.guard import MAX_AMPLIFICATION, RateLimit
from watchducks.nameserver.identity import Identity
from watchducks.nameserver.options import Options
from watchducks.nameserver.responder import Responder

HOST = "192.0.2.1"
NEIGHBOUR = "192.0.2.200"
STRANGER = "198.51.100.1"
MANY = tuple(ipaddress.ip_address(f"203.0.113.{number}") for number in range(1, 60))
CLIENT_COOKIE = b"8 octets"


class Guarded:
    """A responder with everything, and clients before it."""

    def __init__(self, *, per_second: int = 0, nsid: str = "") -> None:
        self.clock = Clock()
        self.verdicts = FixedVerdicts(PROXY4, PROXY6)
        self.zones = zone_table(site("example.com"), site("kr.com"), site("watchducks.example"))
        cookies = Cookies(b"s" * 32, now=self.clock.seconds)
        self.responder = Responder(
            self.zones,
            self.verdicts,
            clock=self.clock,
            options=Options(cookies, nsid=nsid, idle_seconds=10),
            limit=RateLimit(per_second, clock=self.clock) if per_second else None,
            identity=Identity(nsid) if nsid else None,
        )

    def ask(
        self, query: dns.message.Message, host: str = HOST, *, datagram: bool = True
    ) -> dns.message.Message | None:
        wire = self.responder.respond(query.to_wire(), host, datagram=datagram)
        return None if wire is None else dns.message.from_wire(wire)

    def cookie(self, host: str = HOST) -> bytes:
        """Return a valid cookie, as a client gets it with its first answer."""
        response = self.ask(query(cookie=CLIENT_COOKIE), host)
        assert response is not None
        return cookie_of(response)


def query(
    name: str = "www.example.com", type_: str = "A", *, cookie: bytes = b"", **more: object
) -> dns.message.Message:
    given = [dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie)] if cookie else []
    return dns.message.make_query(name, type_, use_edns=0, options=given, **more)  # type: ignore[arg-type]


def cookie_of(response: dns.message.Message) -> bytes:
    (option,) = response.options
    assert option.otype == dns.edns.OptionType.COOKIE
    return option.to_wire() or b""


# --- cookies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["www.example.com", "nope.example.com", "example.org"])
def test_every_answer_has_a_cookie_for_who_has_one_also_from_the_cache(name: str) -> None:
    guarded = Guarded()
    for _ in range(2):
        response = guarded.ask(query(name, cookie=CLIENT_COOKIE))
        assert response is not None
        cookie = cookie_of(response)
        assert (cookie[:8], len(cookie)) == (CLIENT_COOKIE, 24)
        assert guarded.responder._options is not None
        assert guarded.responder._options.cookies.respond(cookie, HOST)[1]
        plain = guarded.ask(query(name))
        assert plain is not None
        assert plain.options == ()
        assert plain.answer == response.answer
        assert plain.authority == response.authority


def alone(cookie: bytes | None, *, more: bytes = b"") -> bytes:
    """Return a query without a question: a header, and perhaps an OPT with a cookie."""
    option = b"" if cookie is None else struct.pack("!HH", 10, len(cookie)) + cookie
    opt = b"\0" + struct.pack("!HHLH", 41, 1_232, 0, len(option)) + option
    return struct.pack("!6H", 7, 0, 0, 0, 0, 1) + opt + more


@pytest.mark.parametrize("datagram", [True, False])
def test_a_cookie_can_be_asked_for_without_a_question(datagram: bool) -> None:
    guarded = Guarded()

    def ask(cookie: bytes, host: str = HOST) -> dns.message.Message:
        wire = guarded.responder.respond(alone(cookie), host, datagram=datagram)
        assert wire is not None
        response = dns.message.from_wire(wire)
        assert response.id == 7
        assert response.flags & ~0xF == dns.flags.QR  # the rcode is in the last four bits
        assert response.question == response.answer == response.authority == []
        return response

    first = ask(CLIENT_COOKIE)
    assert first.rcode() == dns.rcode.NOERROR
    cookie = cookie_of(first)
    assert (cookie[:8], len(cookie)) == (CLIENT_COOKIE, 24)
    assert ask(cookie).rcode() == dns.rcode.NOERROR
    stranger = ask(cookie, STRANGER)
    assert stranger.rcode() == dns.rcode.BADCOOKIE
    assert ask(cookie_of(stranger), STRANGER).rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize(
    "packet",
    [
        struct.pack("!6H", 7, 0, 0, 0, 0, 0),
        alone(None),
        alone(b"seven.."),
        alone(CLIENT_COOKIE, more=b"x"),
        alone(CLIENT_COOKIE)[:-1],
    ],
)
def test_without_a_question_nor_a_cookie_it_is_malformed(packet: bytes) -> None:
    response = Guarded().responder.respond(packet, HOST, datagram=True)
    assert response is not None
    assert dns.message.from_wire(response).rcode() == dns.rcode.FORMERR


def test_cookies_without_a_question_are_limited_as_well() -> None:
    guarded = Guarded(per_second=2)
    answered = [
        guarded.responder.respond(alone(CLIENT_COOKIE), HOST, datagram=True) for _ in range(6)
    ]
    assert answered.count(None) == 2


@pytest.mark.parametrize("per_second", [0, 2])
def test_cookies_that_come_again_are_judged_again(per_second: int) -> None:
    """Fast and slow: a cookie's first question is worked out, the others have less to do."""
    guarded = Guarded(per_second=per_second)
    guarded.verdicts.set(*MANY[:30])  # more than four times the question
    cookie = guarded.cookie()
    other = guarded.cookie(STRANGER)
    for _ in range(4):
        whole = guarded.ask(query(cookie=cookie))
        assert whole is not None
        assert len(rdatas(whole.answer)) == 30
        assert cookie_of(whole) == cookie
        guarded.clock.advance(1)
        for stolen in (other, cookie[:-1] + bytes((cookie[-1] ^ 1,))):
            cut = guarded.ask(query(cookie=stolen))
            assert cut is not None
            assert cut.flags & dns.flags.TC
            assert len(cookie_of(cut)) == 24
        guarded.clock.advance(1)
        guarded.ask(query("example.com", cookie=cookie), STRANGER)
        guarded.ask(query("nope.example.com", cookie=CLIENT_COOKIE[::-1]))
        fresh = guarded.ask(query("nope.example.com", cookie=CLIENT_COOKIE))
        assert fresh is not None
        assert cookie_of(fresh)[:8] == CLIENT_COOKIE
        assert fresh.rcode() == dns.rcode.NXDOMAIN
        assert len(guarded.responder._cache.cookie) == 2
    guarded.clock.advance(3_601)
    old = guarded.ask(query(cookie=cookie))
    assert old is not None
    assert old.flags & dns.flags.TC
    assert cookie_of(old) != cookie


def test_what_is_cut_for_its_rate_has_a_cookie_also_from_the_cache() -> None:
    guarded = Guarded(per_second=1)
    for _ in range(3):
        guarded.clock.advance(1)
        guarded.ask(query(cookie=CLIENT_COOKIE))
    assert guarded.responder._cache.cookie
    assert outcomes(guarded, query(cookie=CLIENT_COOKIE), 2) == "dc"
    guarded.ask(query(cookie=CLIENT_COOKIE))
    cut = guarded.ask(query(cookie=CLIENT_COOKIE))
    assert cut is not None
    assert (len(cookie_of(cut)), cut.answer) == (24, [])


def test_a_cookie_that_is_cut_off_is_no_cookie_that_came_before() -> None:
    guarded = Guarded()
    packet = query(cookie=CLIENT_COOKIE).to_wire()
    for _ in range(3):
        guarded.responder.respond(packet, HOST, datagram=True)
    for wrong in (packet[:-8], packet[:-1], packet + b"x", packet[:-12]):
        response = guarded.responder.respond(wrong, HOST, datagram=True)
        assert response is not None
        assert response[3] & 15 == dns.rcode.FORMERR


def test_a_cookie_of_an_impossible_length_is_a_format_error() -> None:
    guarded = Guarded()
    for _ in range(2):
        wire = guarded.responder.respond(query(cookie=b"short").to_wire(), HOST, datagram=True)
        assert wire is not None
        assert wire[3] & 15 == dns.rcode.FORMERR
        guarded.ask(query())  # now it is in the cache


def test_options_that_are_cut_off_are_a_format_error() -> None:
    packet = query().to_wire()[:-2] + struct.pack("!HHH", 4, 10, 8)
    wire = Guarded().responder.respond(packet, HOST, datagram=True)
    assert wire is not None
    assert wire[3] & 15 == dns.rcode.FORMERR


# --- amplification -------------------------------------------------------------------------------

ZONES = ("example.com", "kr.com", "watchducks.example")
ASKED = [
    (prefix + zone, type_)
    for zone in (*ZONES, "example.org")
    for prefix in ("", "www.", "nope.", "ns1.")
    for type_ in ("A", "AAAA", "NS", "SOA", "MX", "TXT", "ANY", "DNSKEY", "TYPE65280", "AXFR")
]


@pytest.mark.parametrize("addresses", [(PROXY4,), (PROXY4, PROXY6), MANY, ()])
def test_nothing_that_is_answered_without_a_valid_cookie_is_larger_than_four_times_the_question(
    addresses: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...],
) -> None:
    guarded = Guarded(nsid="a-name-of-some-length")
    guarded.verdicts.set(*addresses)
    wrong = guarded.cookie(STRANGER)
    nsid = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
    cut = 0
    for name, type_ in ASKED:
        for message in (
            dns.message.make_query(name, type_),
            query(name, type_),
            query(name, type_, want_dnssec=True),
            query(name, type_, cookie=CLIENT_COOKIE),
            query(name, type_, cookie=wrong),
            dns.message.make_query(name, type_, use_edns=0, options=[nsid]),
            dns.message.make_query(name, type_, use_edns=1),
        ):
            packet = message.to_wire()
            for _ in range(2):
                response = guarded.responder.respond(packet, HOST, datagram=True)
                assert response is not None
                assert len(response) <= MAX_AMPLIFICATION * len(packet)
                cut += bool(response[2] & 0x02)
            whole = guarded.responder.respond(packet, HOST, datagram=False)
            assert whole is not None
            assert not whole[2] & 0x02
    assert bool(cut) is (addresses == MANY)


@pytest.mark.parametrize("repeated", [False, True])
def test_who_shows_a_valid_cookie_gets_it_all(repeated: bool) -> None:
    guarded = Guarded()
    guarded.verdicts.set(*MANY)
    cookie = guarded.cookie()
    if repeated:
        guarded.ask(query(), datagram=False)
    cut = guarded.ask(query())
    whole = guarded.ask(query(cookie=cookie))
    stolen = guarded.ask(query(cookie=cookie), STRANGER)
    assert cut is not None
    assert whole is not None
    assert stolen is not None
    assert cut.flags & dns.flags.TC
    assert (cut.answer, cut.edns) == ([], 0)
    assert not whole.flags & dns.flags.TC
    assert len(rdatas(whole.answer)) == len(MANY)
    assert stolen.flags & dns.flags.TC
    assert len(cookie_of(stolen)) == 24  # his own, for the next time


def test_addresses_of_servers_are_left_out_before_an_answer_is_cut() -> None:
    guarded = Guarded()
    guarded.zones = zone_table(site("watchducks.example"), addresses=MANY[:10])
    guarded.responder._zones = guarded.zones
    message = query("watchducks.example", "NS")
    for _ in range(2):
        small, whole = guarded.ask(message), guarded.ask(message, datagram=False)
        assert small is not None
        assert whole is not None
        assert not small.flags & dns.flags.TC
        assert small.answer == whole.answer
        assert len(rdatas(small.additional)) < 10
        assert len(rdatas(whole.additional)) == 10


# --- rate limits ---------------------------------------------------------------------------------


def outcomes(guarded: Guarded, message: dns.message.Message, count: int, host: str = HOST) -> str:
    """Return "s"ent, "c"ut or "d"ropped for each."""
    found = ""
    for _ in range(count):
        response = guarded.ask(message, host)
        if response is None:
            found += "d"
        else:
            found += "c" if response.flags & dns.flags.TC else "s"
    return found


def test_a_network_gets_so_many_answers_of_a_kind() -> None:
    guarded = Guarded(per_second=3)
    assert outcomes(guarded, query(), 7) == "sssdcdc"
    assert outcomes(guarded, query(), 2, NEIGHBOUR) == "dc"
    assert outcomes(guarded, query(), 3, STRANGER) == "sss"
    assert outcomes(guarded, query("kr.com"), 3) == "sss"
    guarded.clock.advance(1)
    assert outcomes(guarded, query(), 1) == "s"


def test_random_names_do_not_use_up_what_those_who_ask_for_real_ones_may_have() -> None:
    guarded = Guarded(per_second=3)
    random = [outcomes(guarded, query(f"x{number}.example.com"), 1) for number in range(5)]
    assert "".join(random) == "sssdc"
    assert outcomes(guarded, query("www.example.com", "MX"), 4) == "sssd"
    assert outcomes(guarded, query(), 3) == "sss"


def test_tcp_and_valid_cookies_are_not_limited() -> None:
    guarded = Guarded(per_second=2)
    cookie = guarded.cookie()
    outcomes(guarded, query(), 5)
    assert outcomes(guarded, query(cookie=CLIENT_COOKIE), 2) != "ss"
    assert outcomes(guarded, query(cookie=cookie), 5) == "sssss"
    for _ in range(5):
        response = guarded.ask(query(), datagram=False)
        assert response is not None
        assert not response.flags & dns.flags.TC


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"\0\1" + bytes(10), id="FORMERR"),
        pytest.param(b"\0\1\x10" + bytes(9), id="NOTIMP"),
        pytest.param(dns.message.make_query("a.b", "A", use_edns=1).to_wire(), id="BADVERS"),
        pytest.param(query("example.org").to_wire(), id="REFUSED"),
    ],
)
def test_errors_are_limited(packet: bytes) -> None:
    guarded = Guarded(per_second=3)
    sent = [guarded.responder.respond(packet, HOST, datagram=True) for _ in range(8)]
    assert all(sent[:3])
    assert None in sent[3:]


def test_what_is_cut_has_the_cookie_that_helps_the_next_time() -> None:
    guarded = Guarded(per_second=1)
    guarded.ask(query())
    guarded.ask(query())
    response = guarded.ask(query(cookie=CLIENT_COOKIE))
    assert response is not None
    assert response.flags & dns.flags.TC
    assert outcomes(guarded, query(cookie=cookie_of(response)), 1) == "s"


# --- which server this is ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["id.server", "hostname.bind", "version.bind", "ID.Server"])
@pytest.mark.parametrize("edns", [-1, 0])
def test_chaos_is_refused_unless_there_is_a_name(name: str, edns: int) -> None:
    message = dns.message.make_query(name, "TXT", "CH", use_edns=edns)
    refused = Guarded().ask(message)
    assert refused is not None
    assert refused.rcode() == dns.rcode.REFUSED
    told = Guarded(nsid="ams-1").ask(message)
    assert told is not None
    assert told.edns == edns
    if name == "version.bind":
        assert told.rcode() == dns.rcode.REFUSED
    else:
        assert rdatas(told.answer) == [f'{name}. 0 CH TXT "ams-1"']


# --- the cache -----------------------------------------------------------------------------------


def test_what_does_not_exist_is_kept_apart_and_pushes_nothing_out() -> None:
    guarded = Guarded()
    guarded.ask(query())
    good = dict(guarded.responder._cache.replies)
    for number in range(module.MAX_CACHED_OTHERS + 10):
        packet = query(f"x{number}.example.com").to_wire()
        guarded.responder.respond(packet, HOST, datagram=True)
    assert guarded.responder._cache.replies == good
    assert len(guarded.responder._cache.others) == module.MAX_CACHED_OTHERS


@pytest.mark.parametrize(
    ("name", "type_", "rcode"),
    [
        ("nope.example.com", "A", dns.rcode.NXDOMAIN),
        ("www.example.com", "MX", dns.rcode.NOERROR),
        ("example.org", "A", dns.rcode.REFUSED),
    ],
)
def test_negative_answers_come_from_the_cache_until_something_changes(
    name: str, type_: str, rcode: int
) -> None:
    guarded = Guarded()
    first = guarded.ask(query(name, type_))
    assert len(guarded.responder._cache.others) == 1
    second = guarded.ask(query(name.upper(), type_, id=7))
    assert first is not None
    assert second is not None
    assert (first.rcode(), second.rcode(), second.id) == (rcode, rcode, 7)
    assert first.authority == second.authority
    guarded.zones.apply(changed([site("example.org"), site("nope.example.com")]))
    third = guarded.ask(query(name, "A"))
    assert third is not None
    assert rdatas(third.answer)


def test_what_comes_again_octet_for_octet_is_answered_the_same_and_each_kind_by_itself() -> None:
    guarded = Guarded()
    guarded.verdicts.set(*MANY[:8])
    packets = [
        dns.message.make_query(name, "A", use_edns=edns, payload=payload, flags=flags).to_wire()
        for name in ("www.example.com", "WWW.example.com", "nope.example.com")
        for edns, payload in ((-1, 1232), (0, 512), (0, 1232))
        for flags in (0, dns.flags.RD, dns.flags.CD)
    ]
    first = [guarded.responder.respond(packet, HOST, datagram=True) for packet in packets]
    for id_ in (b"\1\2", b"\3\4"):
        for packet, response in zip(packets, first, strict=True):
            again = guarded.responder.respond(id_ + packet[2:], HOST, datagram=True)
            assert response is not None
            assert again == id_ + response[2:]
    # Not those in random letter case, nor those that were cut.
    assert all(
        not exact.response[0] & 0x02 and b"WWW" not in packet
        for packet, exact in guarded.responder._cache.exact.items()
    )
    assert len(guarded.responder._cache.exact) >= 9


def test_everything_is_forgotten_after_a_while_though_nothing_changed() -> None:
    guarded = Guarded()
    guarded.ask(query())
    guarded.clock.advance(module.MAX_CACHE_SECONDS - 1)
    guarded.ask(query("example.com"))
    assert len(guarded.responder._cache.replies) == 2
    guarded.clock.advance(1)
    guarded.ask(query("example.com"))
    assert len(guarded.responder._cache.replies) == 1


def test_large_answers_are_not_kept() -> None:
    guarded = Guarded()
    guarded.verdicts.set(*(ipaddress.ip_address(f"10.0.0.{number}") for number in range(100)))
    guarded.ask(query(), datagram=False)
    assert guarded.responder._cache.replies == {}
