"""Signed zones, asked through dnspython: every answer has to validate, and what proves absence to
prove it."""

from __future__ import annotations

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.node
import dns.rcode
import dns.rdataset
import dns.rdatatype
import dns.rrset
import pytest
from twisted.internet.task import Clock

from tests.unit.nameserver.fakes import (
    PROXY4,
    PROXY6,
    TTL,
    FixedVerdicts,
    changed,
    contents,
    rdatas,
    site,
    zone_table,
)
from tests.unit.nameserver.keys import GlassSeals, zone_key
from watchducks.model.signing import Phase, Signing, apex_name
from watchducks.nameserver.counts import Counts, Subject
from watchducks.nameserver.guard import Network
from watchducks.nameserver.responder import Responder
from watchducks.nameserver.signatures import LIFETIME_SECONDS, REUSED_SECONDS, Signatures
from watchducks.nameserver.signing import Signer

NOW = 1_800_000_000
ZONE = "example.com"
APEX = dns.name.from_text(ZONE)
CO = 0x4000
NXNAME = 128
KEY, NEXT_KEY = zone_key(1), zone_key(2)
SIGNED = Signing(Phase.SIGNED, 0, (KEY,))
RECORDS = """
@            3600 MX    10 mail
@            3600 TXT   "v=spf1 -all"
mail          600 A     198.51.100.25
mail          600 AAAA  2001:db8::25
alias         600 CNAME mail
dangling      600 CNAME nothing
outside       600 CNAME www.elsewhere.example.
toinner       600 CNAME host.inner
*.wild        600 TXT   "made"
*.wild        600 MX    5 mail
deep.down     600 TXT   "below an empty name"
inner         600 NS    ns.inner
inner         600 DS    4711 13 2 00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF
ns.inner      600 A     198.51.100.53
plain         600 NS    ns1.watchducks.example.
beside        600 NS    ns.inner
beside        600 NS    mail
"""


class SignedZone:
    """example.com, signed, and a resolver that believes nothing that it cannot check."""

    def __init__(
        self, signing: Signing = SIGNED, per_second: int = 1_000, counts: Counts | None = None
    ) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.seals = GlassSeals()
        self.verdicts = FixedVerdicts(PROXY4)
        held = contents(ZONE, RECORDS)
        self.zones = zone_table(
            site(ZONE, held=held, signing=signing), site("plain.example"), now=self.clock.seconds
        )
        self.held = held
        self.signatures = Signatures(self.seals, clock=self.clock, per_second=per_second)
        self.responder = Responder(
            self.zones,
            self.verdicts,
            clock=self.clock,
            counts=counts,
            signer=Signer(self.zones, self.verdicts, self.signatures),
        )

    def later(self, seconds: float) -> None:
        """Let time pass, and ready answers be forgotten."""
        self.clock.advance(seconds)
        self.verdicts.set(PROXY4)

    def sign(self, signing: Signing) -> None:
        self.zones.apply(changed([site(ZONE, held=self.held, signing=signing)]))

    def ask(
        self, name: str, type_: str = "A", *, do: bool = True, co: bool = False, udp: bool = False
    ) -> dns.message.Message:
        if not name.endswith("."):
            name = f"{name}.{ZONE}." if name != "@" else f"{ZONE}."
        query = dns.message.make_query(name, type_, want_dnssec=do, payload=1232)
        if co:
            query.ednsflags |= CO
        wire = self.responder.respond(query.to_wire(), datagram=udp)
        assert wire is not None
        response = dns.message.from_wire(wire)
        assert response.id == query.id
        return response

    def trusted(self, response: dns.message.Message, *keys: object) -> list[str]:
        """Check every signature of a response; return "name type" of what is validly signed.

        :param keys: those that the asker knows; default: all that are published.
        """
        known = self.known_keys(*keys)
        found = []
        for section in (response.answer, response.authority, response.additional):
            signatures = {
                (rrset.name, rrset.covers): rrset
                for rrset in section
                if rrset.rdtype == dns.rdatatype.RRSIG
            }
            for rrset in section:
                signed = signatures.pop((rrset.name, rrset.rdtype), None)
                if signed is not None:
                    dns.dnssec.validate(rrset, signed, known, now=self.clock.seconds())
                    assert signed.ttl == rrset.ttl == signed[0].original_ttl
                    found.append(f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)}")
            assert [key for key in signatures if key[1] != dns.rdatatype.NSEC] == []
        return found

    def known_keys(
        self, *keys: object
    ) -> dict[dns.name.Name, dns.node.Node | dns.rdataset.Rdataset]:
        published = self.ask("@", "DNSKEY").answer[0]
        if keys:
            wanted = {key.dnskey for key in keys}  # type: ignore[attr-defined]
            published = dns.rrset.from_rdata_list(
                APEX, published.ttl, [key for key in published if key.to_wire() in wanted]
            )
        return {APEX: published}


@pytest.fixture
def zone() -> SignedZone:
    return SignedZone()


def proof(response: dns.message.Message) -> tuple[str, set[int]]:
    """Return the name that the response's one NSEC speaks of, and the types that it has."""
    (nsec,) = [
        rrset
        for rrset in (*response.answer, *response.authority)
        if rrset.rdtype == dns.rdatatype.NSEC
    ]
    assert nsec.ttl == TTL  # as long as the SOA's minimum (RFC 9077)
    following = nsec[0].next
    assert following == dns.name.Name((b"\0", *nsec.name.labels))
    types = {
        window * 256 + octet * 8 + bit
        for window, bitmap in nsec[0].windows
        for octet, value in enumerate(bitmap)
        for bit in range(8)
        if value & 0x80 >> bit
    }
    return nsec.name.to_text(), types


def numbers(*types: str) -> set[int]:
    return {int(dns.rdatatype.from_text(type_)) for type_ in (*types, "RRSIG", "NSEC")}


@pytest.mark.parametrize(
    ("name", "type_", "signed"),
    [
        ("@", "SOA", ["example.com. SOA"]),
        ("@", "NS", ["example.com. NS"]),
        ("@", "A", ["example.com. A"]),
        ("www", "A", ["www.example.com. A"]),
        ("@", "MX", ["example.com. MX", "mail.example.com. A", "mail.example.com. AAAA"]),
        ("@", "ANY", ["example.com. HINFO"]),
        ("@", "DNSKEY", ["example.com. DNSKEY"]),
        ("@", "CDS", ["example.com. CDS"]),
        ("@", "CDNSKEY", ["example.com. CDNSKEY"]),
        ("alias", "A", ["alias.example.com. CNAME", "mail.example.com. A"]),
        ("outside", "A", ["outside.example.com. CNAME"]),
        ("a.b.wild", "TXT", ["a.b.wild.example.com. TXT"]),
        ("*.wild", "TXT", ["*.wild.example.com. TXT"]),
        ("inner", "DS", ["inner.example.com. DS"]),
    ],
)
def test_every_record_set_is_signed(
    zone: SignedZone, name: str, type_: str, signed: list[str]
) -> None:
    response = zone.ask(name, type_)
    assert response.rcode() == dns.rcode.NOERROR
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.AD
    assert response.ednsflags & dns.flags.DO
    assert zone.trusted(response) == signed


def test_who_does_not_ask_for_signatures_gets_none(zone: SignedZone) -> None:
    for name, type_ in (("@", "SOA"), ("www", "A"), ("a.wild", "TXT"), ("inner", "A")):
        response = zone.ask(name, type_, do=False)
        types = {rrset.rdtype for rrset in (*response.answer, *response.authority)}
        assert types.isdisjoint({dns.rdatatype.RRSIG, dns.rdatatype.NSEC, dns.rdatatype.DS})
    assert zone.ask("nothing", do=False).rcode() == dns.rcode.NXDOMAIN
    assert zone.seals.opened == 0


def test_another_zone_stays_as_it_is(zone: SignedZone) -> None:
    response = zone.ask("www.plain.example.")
    assert [rrset.rdtype for rrset in response.answer] == [dns.rdatatype.A]
    response = zone.ask("nothing.plain.example.")
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert [rrset.rdtype for rrset in response.authority] == [dns.rdatatype.SOA]


def assert_denied(zone: SignedZone, response: dns.message.Message, name: str) -> None:
    assert response.flags & dns.flags.AA
    owner, _ = proof(response)
    assert owner == name
    assert zone.trusted(response)[-2:] == ["example.com. SOA", f"{name} NSEC"]


def test_a_name_that_is_not_there(zone: SignedZone) -> None:
    response = zone.ask("no.such.name")
    assert response.rcode() == dns.rcode.NOERROR
    assert not response.ednsflags & CO
    assert_denied(zone, response, "no.such.name.example.com.")
    assert proof(response)[1] == numbers() | {NXNAME}


def test_nxdomain_is_restored_for_who_understands_the_proof(zone: SignedZone) -> None:
    response = zone.ask("no.such.name", co=True)
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert response.ednsflags & CO
    assert_denied(zone, response, "no.such.name.example.com.")
    # Whether somebody else asked before, and how, makes no difference.
    assert zone.ask("no.such.name").rcode() == dns.rcode.NOERROR
    assert zone.ask("no.such.name", do=False, co=True).rcode() == dns.rcode.NXDOMAIN
    assert not zone.ask("no.such.name", do=False, co=True).ednsflags & CO
    assert zone.ask("www", co=True).ednsflags & CO


def test_a_name_that_is_not_there_is_counted_as_such() -> None:
    counted = []

    class Counting(Counts):
        def add(self, subject: Subject, network: Network) -> None:
            counted.append((subject.type, subject.rcode))

    zone = SignedZone(counts=Counting())
    zone.ask("no.such.name", "A")
    zone.ask("no.such.name", "A", do=False)
    zone.ask("mail", "TXT")
    assert counted == [(1, dns.rcode.NXDOMAIN), (1, dns.rcode.NXDOMAIN), (16, dns.rcode.NOERROR)]


@pytest.mark.parametrize(
    ("name", "type_", "types"),
    [
        ("mail", "TXT", numbers("A", "AAAA")),
        ("down", "A", numbers()),  # an empty non-terminal
        ("a.wild", "A", numbers("TXT", "MX")),
        ("wild", "TXT", numbers()),
        # The proxies have no IPv6 address now, so there are no AAAA: their absence is proven too.
        ("www", "AAAA", numbers("A")),
        ("www", "TXT", numbers("A")),
        ("@", "CAA", numbers("A", "MX", "TXT", "SOA", "NS", "DNSKEY", "CDS", "CDNSKEY")),
        ("@", "DS", numbers("A", "MX", "TXT", "SOA", "NS", "DNSKEY", "CDS", "CDNSKEY")),
        ("plain", "DS", numbers("NS")),
    ],
)
def test_a_type_that_is_not_there(zone: SignedZone, name: str, type_: str, types: set[int]) -> None:
    response = zone.ask(name, type_)
    assert response.rcode() == dns.rcode.NOERROR
    full = f"{name}.example.com." if name != "@" else "example.com."
    assert_denied(zone, response, full)
    assert proof(response)[1] == types


def test_a_cname_to_nowhere(zone: SignedZone) -> None:
    response = zone.ask("dangling")
    assert response.rcode() == dns.rcode.NOERROR
    assert zone.trusted(response)[0] == "dangling.example.com. CNAME"
    assert_denied(zone, response, "nothing.example.com.")
    assert zone.ask("dangling", co=True).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(("name", "aa"), [("host.inner", False), ("toinner", True)])
def test_a_referral_to_a_signed_zone(zone: SignedZone, name: str, aa: bool) -> None:
    response = zone.ask(name)
    assert bool(response.flags & dns.flags.AA) == aa
    # Neither the delegation's NS nor its glue are ours to sign (RFC 4035 section 2.2).
    expected = ["inner.example.com. DS"]
    assert zone.trusted(response) == (["toinner.example.com. CNAME"] if aa else []) + expected
    assert [dns.rdatatype.to_text(rrset.rdtype) for rrset in response.authority] == [
        *("NS", "DS", "RRSIG")
    ]
    assert rdatas(response.additional) == ["ns.inner.example.com. 600 IN A 198.51.100.53"]


def test_a_referral_to_an_unsigned_zone(zone: SignedZone) -> None:
    response = zone.ask("host.plain", "TXT")
    assert not response.flags & dns.flags.AA
    assert proof(response) == ("plain.example.com.", numbers("NS"))
    assert zone.trusted(response) == ["plain.example.com. NSEC"]


def test_addresses_beside_a_referral_are_signed_if_they_are_ours(zone: SignedZone) -> None:
    response = zone.ask("host.beside")
    assert {rrset.name.to_text() for rrset in response.additional} == {
        *("ns.inner.example.com.", "mail.example.com.")
    }
    assert zone.trusted(response) == [
        *("beside.example.com. NSEC", "mail.example.com. A", "mail.example.com. AAAA")
    ]


def test_names_without_end_do_not_push_out_the_signatures_of_others(zone: SignedZone) -> None:
    zone.ask("nothing")  # signs the SOA, which stands in the zone
    kept = len(zone.signatures._kept)
    for number in range(20):
        assert zone.ask(f"random{number}").authority
        assert zone.ask(f"made{number}.wild", "TXT").answer
    assert len(zone.signatures._kept) == kept
    assert len(zone.signatures._proofs) >= 40


def test_failover_answers_are_signed(zone: SignedZone) -> None:
    before = zone.ask("www")
    zone.verdicts.set()
    origin = zone.ask("www")
    assert rdatas(origin.answer)[0].endswith("IN A 198.51.100.7")
    assert zone.trusted(origin) == ["www.example.com. A"]
    assert proof(zone.ask("www", "AAAA"))[1] == numbers("A")
    zone.verdicts.set(PROXY4, PROXY6)
    assert zone.trusted(zone.ask("www", "AAAA")) == ["www.example.com. AAAA"]
    assert proof(zone.ask("www", "TXT"))[1] == numbers("A", "AAAA")
    zone.verdicts.set(PROXY4)
    assert zone.ask("www").answer == before.answer


@pytest.mark.parametrize("do", [True, False])
@pytest.mark.parametrize(
    ("name", "types"), [("mail", numbers("A", "AAAA")), ("alias", numbers("CNAME"))]
)
def test_questions_for_the_proof_itself(
    zone: SignedZone, name: str, types: set[int], do: bool
) -> None:
    response = zone.ask(name, "NSEC", do=do)
    assert response.rcode() == dns.rcode.NOERROR
    assert proof(response) == (f"{name}.example.com.", types)
    assert zone.trusted(response) == ([f"{name}.example.com. NSEC"] if do else [])
    (signature,) = zone.ask(name, "RRSIG", do=do).answer
    assert signature.rdtype == dns.rdatatype.RRSIG
    assert signature.covers == dns.rdatatype.NSEC


def test_questions_for_the_proof_about_a_name_that_is_not_there(zone: SignedZone) -> None:
    assert proof(zone.ask("nothing", "NSEC"))[1] == numbers() | {NXNAME}
    assert zone.ask("nothing", "NSEC", do=False).rcode() == dns.rcode.NXDOMAIN
    assert zone.ask("host.inner", "NSEC").answer == []  # below a cut: a referral


def test_nxname_is_never_asked_for(zone: SignedZone) -> None:
    for name in ("www", "nothing"):
        assert zone.ask(name, "TYPE128").rcode() == dns.rcode.FORMERR


# --- keys -----------------------------------------------------------------------------------------


def published(zone: SignedZone, type_: str) -> set[bytes]:
    return {rdata.to_wire() for rrset in zone.ask("@", type_).answer[:1] for rdata in rrset}


def test_a_rollover_validates_at_every_step() -> None:
    """Whoever holds an answer from before a step, keys or records, can still use it."""
    apex = apex_name(ZONE)
    publishing = Signing(Phase.PUBLISHING, NOW + 100, (KEY, NEXT_KEY))
    zone = SignedZone()
    www = ["www.example.com. A"]
    old_answer = zone.ask("www")
    assert zone.trusted(old_answer, KEY) == www

    zone.sign(publishing)
    assert published(zone, "DNSKEY") == {KEY.dnskey, NEXT_KEY.dnskey}
    assert published(zone, "CDS") == {KEY.cds(apex)}
    assert zone.trusted(zone.ask("www"), KEY) == www
    for key in (KEY, NEXT_KEY):
        assert zone.trusted(zone.ask("@", "DNSKEY"), key) == ["example.com. DNSKEY"]

    zone.later(100)  # by time alone
    assert published(zone, "CDS") == {NEXT_KEY.cds(apex)}
    assert published(zone, "CDNSKEY") == {NEXT_KEY.dnskey}
    assert published(zone, "DNSKEY") == {KEY.dnskey, NEXT_KEY.dnskey}
    assert zone.trusted(zone.ask("www"), NEXT_KEY) == www
    assert zone.trusted(old_answer) == www
    with pytest.raises(dns.exception.ValidationFailure):
        zone.trusted(zone.ask("www"), KEY)
    for type_ in ("DNSKEY", "CDS", "CDNSKEY"):  # the parent still names the old key
        for key in (KEY, NEXT_KEY):
            assert zone.trusted(zone.ask("@", type_), key) == [f"example.com. {type_}"]

    zone.sign(Signing(Phase.RETIRING, int(zone.clock.seconds()) + 100, (KEY, NEXT_KEY)))
    assert zone.trusted(zone.ask("@", "DNSKEY"), KEY) == ["example.com. DNSKEY"]
    zone.later(100)
    assert published(zone, "DNSKEY") == {NEXT_KEY.dnskey}
    assert zone.trusted(zone.ask("@", "DNSKEY")) == ["example.com. DNSKEY"]
    assert zone.trusted(zone.ask("www")) == www


def test_on_the_way_out_the_parent_is_asked_to_delete_its_ds() -> None:
    zone = SignedZone(Signing(Phase.WITHDRAWING, 0, (KEY,)))
    assert zone.ask("@", "CDS").answer[0][0].to_text() == "0 0 0 00"
    assert zone.ask("@", "CDNSKEY").answer[0][0].to_text() == "0 3 0 AA=="
    assert zone.trusted(zone.ask("@", "CDS")) == ["example.com. CDS"]
    assert zone.trusted(zone.ask("www")) == ["www.example.com. A"]
    zone.sign(Signing(Phase.ENDING, NOW + 100, (KEY,)))
    assert zone.trusted(zone.ask("www")) == ["www.example.com. A"]
    zone.later(100)
    assert zone.ask("@", "DNSKEY").answer == []
    assert [rrset.rdtype for rrset in zone.ask("www").answer] == [dns.rdatatype.A]


def test_a_zone_that_begins_has_no_ds_yet() -> None:
    zone = SignedZone(Signing(Phase.BEGINNING, NOW + 100, (KEY,)))
    assert zone.ask("@", "CDS").answer == []
    assert zone.trusted(zone.ask("www")) == ["www.example.com. A"]
    assert int(dns.rdatatype.CDS) not in proof(zone.ask("@", "CAA"))[1]
    zone.later(100)
    assert published(zone, "CDS") == {KEY.cds(apex_name(ZONE))}


def test_signatures_are_renewed_long_before_they_end(zone: SignedZone) -> None:
    for _ in range(8):
        zone.later(REUSED_SECONDS / 4)
        (signature,) = zone.ask("www").answer[1]
        assert signature.expiration - zone.clock.seconds() > LIFETIME_SECONDS / 3
        assert zone.trusted(zone.ask("www")) == ["www.example.com. A"]


# --- when it cannot be signed ---------------------------------------------------------------------


def test_without_the_key_nothing_unsigned_is_passed_off_as_an_answer(zone: SignedZone) -> None:
    zone.seals.lost = True
    for name, type_ in (("www", "A"), ("nothing", "A"), ("@", "DNSKEY"), ("inner", "A")):
        assert zone.ask(name, type_).rcode() == dns.rcode.SERVFAIL
    assert zone.ask("www", do=False).rcode() == dns.rcode.NOERROR
    assert zone.ask("www.plain.example.").rcode() == dns.rcode.NOERROR
    zone.seals.lost = False
    zone.clock.advance(10)
    assert zone.trusted(zone.ask("www")) == ["www.example.com. A"]


def ask_for_many(zone: SignedZone, *, udp: bool) -> list[dns.message.Message]:
    return [zone.ask(f"random{number}", udp=udp) for number in range(20)]


def test_a_flood_of_random_names_costs_no_more_than_so_many_signatures() -> None:
    zone = SignedZone(per_second=5)
    responses = ask_for_many(zone, udp=True)
    kinds = [bool(response.flags & dns.flags.TC) for response in responses]
    assert kinds == [False] * 4 + [True] * 16  # one signature was the SOA's
    assert all(response.authority == [] for response in responses[4:])
    # Who comes by TCP shows his address; there is as much for them, and then no more.
    rcodes = [response.rcode() for response in ask_for_many(zone, udp=False)]
    assert rcodes == [dns.rcode.NOERROR] * 9 + [dns.rcode.SERVFAIL] * 11
    assert zone.ask("random1").rcode() == dns.rcode.NOERROR  # what is signed stays an answer
    assert zone.ask("random1", do=False).rcode() == dns.rcode.NXDOMAIN
    zone.clock.advance(1)
    assert zone.trusted(zone.ask("www", udp=True)) == ["www.example.com. A"]


@pytest.fixture(params=[512, 1232])
def small(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_what_does_not_fit_comes_by_tcp(zone: SignedZone, small: int) -> None:
    text = "".join(f'@ 600 TXT "{number:03} {"x" * 200}"\n' for number in range(8))
    zone.zones.apply(changed([site(ZONE, held=contents(ZONE, text), signing=SIGNED)]))
    query = dns.message.make_query("example.com.", "TXT", want_dnssec=True, payload=small)
    wire = zone.responder.respond(query.to_wire(), datagram=True)
    assert wire is not None
    assert len(wire) <= small
    assert dns.message.from_wire(wire).flags & dns.flags.TC
    whole = zone.ask("@", "TXT")
    assert len(whole.answer[0]) == 8
    assert zone.trusted(whole) == ["example.com. TXT"]


def test_rollover_answers_fit_into_a_datagram() -> None:
    zone = SignedZone(Signing(Phase.REPLACING, 0, (KEY, NEXT_KEY)))
    for type_ in ("DNSKEY", "CDS", "CDNSKEY", "SOA", "NS"):
        assert not zone.ask("@", type_, udp=True).flags & dns.flags.TC
