"""What an answer becomes for those who validate: signatures, and compact proofs of absence.

For a zone that is signed, and a question with DO (RFC 4035 section 3.1):

==============================  ====================================================================
the answer                      becomes
==============================  ====================================================================
records                         each set with its RRSIG, CNAMEs and what wildcards made as well
a referral                      NS as they are; the DS with its RRSIG, or the NSEC of the cut, which
                                has no DS in it
NODATA                          the SOA and the name's NSEC, each with its RRSIG
NXDOMAIN                        the same, with NXNAME in the NSEC, and NOERROR: the proof says that
                                the name is there and has nothing (RFC 9824 section 3.1); NXDOMAIN
                                for those who send CO as well (section 5.1)
anything else                   as it is
==============================  ====================================================================

Questions for NSEC, and for RRSIG, are answered with the one NSEC of the name, or its signature
(RFC 8482's thought), with DO or without.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from twisted.names import dns

from watchducks.model.verdicts import Verdicts
from watchducks.nameserver.answer import Answer, Question, Section, look_up, types_at
from watchducks.nameserver.nodes import DS, Node
from watchducks.nameserver.records import RRset
from watchducks.nameserver.rrsig import NSEC, NXNAME, RRSIG, nsec
from watchducks.nameserver.signatures import Signatures
from watchducks.nameserver.wire import Query
from watchducks.nameserver.zones import INFRASTRUCTURE_TTL_SECONDS, Zone, ZoneTable

_ABOUT_SIGNING: Final = frozenset({NSEC, RRSIG})


class Signer:
    """Signs answers; on the reactor's thread."""

    def __init__(self, zones: ZoneTable, verdicts: Verdicts, signatures: Signatures) -> None:
        self._zones = zones
        self._verdicts = verdicts
        self._signatures = signatures

    def sign(self, query: Query, answer: Answer, *, datagram: bool) -> Answer:
        """Return what is to be sent in place of ``answer``.

        :param datagram: whether it was asked by UDP, where anybody can pretend to be the asker.
        :raises CannotSign: the zone's keys cannot be opened.
        :raises TooManySignatures: the asker is to come by TCP, or later.
        """
        zone = answer.zone
        if zone is None or not zone.signing.keys:
            return answer
        pen = _Pen(self._zones, self._verdicts, self._signatures, zone, datagram)
        question, edns = query.question, query.edns
        dnssec_ok = edns is not None and edns.dnssec_ok
        if question.type in _ABOUT_SIGNING and answer.authoritative:
            return pen.about_signing(question, answer, dnssec_ok=dnssec_ok)
        if not dnssec_ok:
            return answer
        return pen.signed(answer, compact_ok=edns is not None and edns.compact_ok)


class _Pen(NamedTuple):
    """What one answer is signed with."""

    zones: ZoneTable
    verdicts: Verdicts
    signatures: Signatures
    zone: Zone
    datagram: bool

    def signed(self, answer: Answer, *, compact_ok: bool) -> Answer:
        """Return ``answer`` with its signatures and proofs."""
        rcode, authority = answer.rcode, answer.authority
        if authority and authority[0][1].type == dns.SOA:
            authority = self._section(authority) + self._proof(answer.last, answer.node)
            if rcode == dns.ENAME and not compact_ok:
                rcode = dns.OK
        elif authority and answer.node is not None:
            delegated = answer.node.get(DS)
            authority += (
                self._set(answer.last, delegated)
                if isinstance(delegated, RRset)
                else self._proof(answer.last, answer.node)
            )
        return answer._replace(
            rcode=rcode,
            answers=self._section(answer.answers),
            authority=authority,
            additional=self._section(answer.additional),
        )

    def about_signing(self, question: Question, answer: Answer, *, dnssec_ok: bool) -> Answer:
        """Return the answer to a question for NSEC or RRSIG, which each name has beside a CNAME."""
        node, _ = look_up(self.zones, self.zone, self._relative(question.name))
        if node is None and not dnssec_ok:
            return answer  # for who does not ask for proofs, the name is not there
        proof, signature = self._proof(question.name, node)
        first = signature if question.type == RRSIG else proof
        answers = (proof, signature) if dnssec_ok and question.type == NSEC else (first,)
        return Answer(
            dns.OK,
            authoritative=True,
            answers=answers,
            zone=self.zone,
            last=question.name,
            node=node,
        )

    def _section(self, section: Section) -> Section:
        signed: Section = ()
        for owner, rrset in section:
            signed += self._set(owner, rrset)
        return signed

    def _set(self, owner: bytes, rrset: RRset) -> Section:
        """Return a record set with its signature; what is the delegated zone's has none of ours."""
        _, cut = look_up(self.zones, self.zone, self._relative(owner))
        if cut is not None and rrset.type not in (DS, NSEC):
            return ((owner, rrset),)
        # What a wildcard made, and what is said of a name that is not there, is without end.
        stands = self.zones.node(self.zone, self._relative(owner)) is not None
        signature = self.signatures.over(
            owner,
            rrset,
            self.zone.apex,
            self.zone.signing,
            datagram=self.datagram,
            lasting=stands,
        )
        return ((owner, rrset), (owner, signature))

    def _proof(self, name: bytes, node: Node | None) -> Section:
        """Return the NSEC of a name with its signature.

        :param node: its records; None: there is no such name.
        """
        types = (NXNAME,) if node is None else types_at(self.zones, self.verdicts, self.zone, node)
        rdata = nsec(name, self.zone.apex, types)
        # As long as the SOA of a negative answer lives (RFC 9077 section 3).
        return self._set(
            name, RRset(NSEC, min(INFRASTRUCTURE_TTL_SECONDS, self.zones.ttl), (rdata,))
        )

    def _relative(self, owner: bytes) -> bytes:
        return owner[: len(owner) - len(self.zone.apex)]
