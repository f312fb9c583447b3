"""Whole zones for listed secondaries: AXFR over TCP (RFC 5936), signed with TSIG (RFC 8945).

The rules, in the order in which they are tried:

==========================================  =========  =========================================
the question                                rcode      answer
==========================================  =========  =========================================
the signature is wrong, or not our key's    NOTAUTH
from an address that is not listed          REFUSED
a key is configured, and it is not signed   REFUSED
not exactly one of our zones                NOTAUTH
a zone with DNSSEC                          REFUSED    its signatures are made per answer
IXFR, and the client has our serial         NOERROR    the SOA alone (RFC 1995 section 2)
an ALIAS in it whose addresses are unknown  SERVFAIL   half a zone would be worse than an old one
otherwise                                   NOERROR    SOA, every record, SOA
==========================================  =========  =========================================

A secondary serves what we answer now: the proxies' addresses or, while none is healthy, the
origin's; :mod:`watchducks.nameserver.notify` tells it of every change. It is bound to lag behind a
failover by a moment, which is why our own name servers follow the registry instead.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dns.tsig
from twisted.logger import Logger
from twisted.names import dns as numbers

from watchducks.model.origins import Address
from watchducks.model.signing import UNSIGNED
from watchducks.model.verdicts import Verdicts
from watchducks.nameserver import wire
from watchducks.nameserver.answer import Question, answer
from watchducks.nameserver.records import RRset
from watchducks.nameserver.tsig import signed
from watchducks.nameserver.zones import Zone, ZoneTable

NOTAUTH: Final = 9
# Octets of records in one message: some hundred records, made in a millisecond between two reads of
# other connections, and within what a TSIG and a header leave of 65,535 whatever the last one is.
MESSAGE_OCTETS: Final = 16_384

_TRANSFERS: Final = (numbers.AXFR, numbers.IXFR)
_FIXED_RR = struct.Struct("!HHLH")


class _Refused(Exception):
    """The transfer is not given; ``rcode`` is what the client is told."""

    def __init__(self, rcode: int, reason: str) -> None:
        super().__init__(reason)
        self.rcode = rcode


class Transfers:
    """Gives zones away. Lives on the reactor's thread."""

    _log = Logger()

    def __init__(
        self,
        zones: ZoneTable,
        verdicts: Verdicts,
        secondaries: Collection[Address],
        *,
        key: dns.tsig.Key | None,
        now: Callable[[], float],
    ) -> None:
        """
        :param secondaries: who may ask.
        :param key: which every question has to be signed with; None: the address is enough.
        """
        self._zones = zones
        self._verdicts = verdicts
        self._secondaries = frozenset(secondaries)
        self._key = key
        self._now = now

    def begin(self, data: bytes, host: str) -> Iterator[bytes] | None:
        """Return the messages that answer a packet, made as they are asked for.

        :param data: one packet that came by TCP.
        :param host: the client's address.
        :return: None if it is not a question for a transfer.
        """
        if not wire.is_query(data) or data[2] & wire.OPCODE:
            return None
        try:
            question = wire.parse_query(data).question
        except wire.Malformed:
            return None
        if question.type not in _TRANSFERS or question.cls != numbers.IN:
            return None
        try:
            return self._messages(data, question, host)
        except _Refused as refused:
            self._log.warn(
                "no transfer of {zone} to {host}: {reason}",
                zone=dns.name.from_wire(question.name, 0)[0].to_text(omit_final_dot=True),
                host=host,
                reason=str(refused),
            )
            return iter((wire.bare_response(data, refused.rcode),))

    def _messages(self, data: bytes, question: Question, host: str) -> Iterator[bytes]:
        request = self._verified(data, host)
        found = self._zones.find(question.name)
        if found is None or found[1]:
            raise _Refused(NOTAUTH, "it is not a zone of ours")
        zone = found[0]
        if zone.signing is not UNSIGNED:
            raise _Refused(
                numbers.EREFUSED,
                "it is signed with DNSSEC as it is asked for; a name server of ours that has a copy"
                " of security.key_file can answer for it instead",
            )
        soa = self._zones.start_of_authority(zone, self._verdicts.serial)
        if question.type == numbers.IXFR and _serial(request) == _serial_of(soa):
            records = [_record(zone.apex, soa, soa.rdatas[0])]
        else:
            # All of it now: a change between two messages must not be half in it.
            records = list(self._records(zone, soa))
        return self._packed(data, records, request)

    def _verified(self, data: bytes, host: str) -> dns.message.Message:
        """Return the question as dnspython reads it, once it is from somebody who may ask."""
        key = self._key
        try:
            request = dns.message.from_wire(data, keyring=key if key is not None else {})
        except dns.exception.DNSException as error:
            # Not signed by who has the key; what it says cannot be believed.
            raise _Refused(NOTAUTH, str(error) or type(error).__name__) from error
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            raise _Refused(numbers.EREFUSED, "it has no address") from None
        mapped = getattr(address, "ipv4_mapped", None)
        if (mapped or address) not in self._secondaries:
            raise _Refused(numbers.EREFUSED, "it is not one of nameserver.secondaries")
        if key is not None and not request.had_tsig:
            raise _Refused(numbers.EREFUSED, "it does not sign with nameserver.transfer_key")
        return request

    def _records(self, zone: Zone, soa: RRset) -> Iterator[bytes]:
        yield _record(zone.apex, soa, soa.rdatas[0])
        for relative, node in self._zones.owners(zone):
            owner = relative + zone.apex
            for type_, held in node.items():
                if type_ == numbers.SOA:
                    continue
                rrset = held if isinstance(held, RRset) else self._worked_out(owner, type_)
                if rrset is not None:
                    for rdata in rrset.rdatas:
                        yield _record(owner, rrset, rdata)
        yield _record(zone.apex, soa, soa.rdatas[0])

    def _worked_out(self, owner: bytes, type_: int) -> RRset | None:
        found = answer(self._zones, self._verdicts, Question(owner, type_, numbers.IN))
        if found.rcode != numbers.OK:
            raise _Refused(numbers.ESERVER, "the addresses of a host name in it are not known yet")
        return found.answers[0][1] if found.answers else None

    def _packed(
        self, data: bytes, records: list[bytes], request: dns.message.Message
    ) -> Iterator[bytes]:
        """Put records into messages; the first one repeats the question (RFC 5936 section 2.2)."""
        question = data[wire.HEADER_OCTETS : wire.parse_query(data).end + 4]
        context: Any = None
        start = 0
        while start < len(records):
            end, octets = start, 0
            while end < len(records) and (octets == 0 or octets < MESSAGE_OCTETS):
                octets += len(records[end])
                end += 1
            header = data[:2] + bytes((wire.QR | wire.AA, 0))
            counts = struct.pack("!4H", bool(question), end - start, 0, 0)
            message = b"".join((header, counts, question, *records[start:end]))
            if request.had_tsig and self._key is not None:
                message, context = signed(message, request, self._key, int(self._now()), context)
            yield message
            question, start = b"", end


def _record(owner: bytes, rrset: RRset, rdata: bytes) -> bytes:
    return owner + _FIXED_RR.pack(rrset.type, numbers.IN, rrset.ttl, len(rdata)) + rdata


def _serial(request: dns.message.Message) -> int | None:
    """Return the serial that an IXFR's client has (RFC 1995 section 3)."""
    for rrset in request.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return int(rrset[0].serial)
    return None


def _serial_of(soa: RRset) -> int:
    # The first of the five numbers behind the two names.
    return int.from_bytes(soa.rdatas[0][-20:-16], "big")
