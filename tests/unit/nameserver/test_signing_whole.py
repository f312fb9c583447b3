"""Any zone, any question: what is signed validates, and what a proof says is what is answered."""

from __future__ import annotations

import dns.message
import dns.rcode
import dns.rdatatype
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.unit.nameserver.fakes import changed, contents, site
from tests.unit.nameserver.test_signing import NXNAME, SIGNED, ZONE, SignedZone, numbers, proof

TYPES = ("A", "AAAA", "MX", "TXT", "CNAME", "NS", "DS", "CAA", "SOA", "DNSKEY", "CDS")
LABELS = ("a", "b", "*", "sub")
names = st.lists(st.sampled_from(LABELS), min_size=1, max_size=3).map(".".join)
DATA = {
    "A": "198.51.100.1",
    "AAAA": "2001:db8::1",
    "MX": "5 a",
    "TXT": '"text"',
}


@st.composite
def zones(draw: st.DrawFn) -> str:
    """Return a zone file: data, CNAMEs and delegations, secure and not, at few names."""
    lines = []
    for owner in draw(st.lists(names, max_size=8, unique=True)):
        kind = draw(st.sampled_from(("data", "data", "CNAME", "NS", "NS and DS")))
        if kind == "CNAME":
            lines.append(f"{owner} 300 CNAME {draw(names)}")
        elif kind == "data":
            chosen = draw(st.sets(st.sampled_from(sorted(DATA)), min_size=1))
            lines += [f"{owner} 300 {type_} {DATA[type_]}" for type_ in sorted(chosen)]
        elif not owner.startswith("*"):
            lines.append(f"{owner} 300 NS ns.{owner}\nns.{owner} 300 A 198.51.100.2")
            if kind == "NS and DS":
                lines.append(f"{owner} 300 DS 1 13 2 {'ab' * 32}")
    return "\n".join(lines) + "\n"


# Not made smaller when it fails: each try signs dozens of answers, and the zone is short as it is.
@settings(max_examples=20, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(zones(), st.lists(st.tuples(names, st.sampled_from(TYPES)), min_size=5, max_size=15))
def test_answers_and_proofs_agree(text: str, questions: list[tuple[str, str]]) -> None:
    zone = SignedZone(per_second=1_000_000)
    held = contents(ZONE, text, proxied=("@", "a"))
    zone.zones.apply(changed([site(ZONE, held=held, signing=SIGNED)]))
    for name, type_ in [*questions, ("@", "TXT")]:
        response, plain = zone.ask(name, type_), zone.ask(name, type_, do=False)
        signed = zone.trusted(response)
        cuts = {rrset.name for rrset in plain.authority if rrset.rdtype == dns.rdatatype.NS}
        for rrset in (*response.answer, *response.authority):
            if rrset.rdtype == dns.rdatatype.RRSIG:
                continue
            shown = f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)}"
            delegation = rrset.rdtype == dns.rdatatype.NS and rrset.name in cuts
            assert (shown in signed) != delegation, (shown, text)
        if plain.answer and not plain.authority:
            assert rdata_of(response) == rdata_of(plain)
            continue
        if "DS" in [dns.rdatatype.to_text(rrset.rdtype) for rrset in response.authority]:
            assert cuts
            continue
        denied, types = proof(response)
        if cuts:
            assert types == numbers("NS")
        elif plain.rcode() == dns.rcode.NXDOMAIN:
            assert types == numbers() | {NXNAME}
            assert response.rcode() == dns.rcode.NOERROR
            assert zone.ask(name, type_, co=True).rcode() == dns.rcode.NXDOMAIN
        else:
            asked = int(dns.rdatatype.from_text(type_))
            assert not types & {asked, int(dns.rdatatype.CNAME), NXNAME}
            # What the proof says is there is there; the NS of a cut lead to the zone below it.
            for listed in types - numbers():
                found = zone.ask(denied, dns.rdatatype.RdataType.make(listed).name)
                first = (*found.answer, *found.authority)[0]
                assert first.rdtype == listed, (denied, text)


def rdata_of(response: dns.message.Message) -> list[str]:
    return sorted(str(rrset) for rrset in response.answer if rrset.rdtype != dns.rdatatype.RRSIG)
