"""Records as people write them ("MX 10 mail.example.com.") and as we keep them. Pure.

dnspython reads and prints the RDATA of each type; what is added here is for people: names without
the final dot that are plainly whole names, names in the letters of their owner, and texts that
need no quotes.
"""

from __future__ import annotations

import re
from typing import Final

import dns.exception
import dns.name
import dns.rdata
import dns.tokenizer
import dns.wire
from dns import rdataclass, rdatatype
from dns.rdtypes.ANY.TXT import TXT

from watchducks.model.problems import Problem
from watchducks.model.zones import ALIAS, APEX, Record, owner_labels

# What a zone may hold beside what we make, in the order in which messages name them. Types that
# dnspython does not know are accepted, too, in the form of RFC 3597.
ACCEPTED_TYPES: Final = (
    "A",
    "AAAA",
    "ALIAS",
    "CNAME",
    "MX",
    "TXT",
    "CAA",
    "SRV",
    "NS",
    "PTR",
    "TLSA",
    "SSHFP",
    "HTTPS",
    "SVCB",
    "NAPTR",
    "DS",
    "LOC",
    "URI",
    "SMIMEA",
    "OPENPGPKEY",
)
# RFC 6895 section 3.1: above it come the types of questions and of the transport, no data.
_FIRST_META_TYPE: Final = 128
_LAST_META_TYPE: Final = 255
# RFC 2181 section 8 allows 68 years, and resolvers forget after a week at the latest: more only
# misleads. Nothing is gained by it but a mistake that lasts.
MAX_TTL: Final = 7 * 24 * 3600
# Where none is given: an hour, what hosting panels write.
DEFAULT_TTL: Final = 3600
# More digits than any TTL that is accepted has; what is longer is not even parsed.
_MAX_TTL_DIGITS: Final = 9
# The longest value that is reasonable is an OpenPGP key of some 4 kB; with this no record comes
# near what one message can carry (64 kB), and parsing one takes about a millisecond.
MAX_VALUE_CHARACTERS: Final = 16_384
# What an answer repeats of a wrong value.
_MAX_SHOWN: Final = 80
# RFC 1035 section 3.3: a length octet stands before each string.
_MAX_STRING_OCTETS: Final = 255
# RFC 1035 section 2.3.4, as text without the final dot.
_MAX_NAME_CHARACTERS: Final = 253

# Where the name stands that a record leads to, in the words of its value.
_TARGETS: Final = {"CNAME": 0, "NS": 0, "PTR": 0, "ALIAS": 0, "MX": 1, "SRV": 3, "SVCB": 1}
_TARGET_PLACES: Final = {**_TARGETS, "HTTPS": 1, "NAPTR": -1}
_LABEL: Final = re.compile(rb"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_HOST_LABEL: Final = re.compile(rb"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_CODEC: Final = dns.name.IDNA_2008_UTS_46


def type_of(text: str) -> int:
    """Return the number of a type: ``MX``, ``TYPE65280``, or our own ``ALIAS``.

    :raises Problem: no record of this type can be kept.
    """
    word = text.strip().upper()[:_MAX_SHOWN]
    if word == "ALIAS":
        return ALIAS
    try:
        number = int(rdatatype.from_text(word))
    except (dns.exception.DNSException, ValueError):
        number = 0
    if not is_accepted(number):
        raise not_kept(word)
    return number


def not_kept(word: str) -> Problem:
    """Return what is said of records of a type that no zone may have."""
    if word == "DNAME":
        # RFC 6672: it is answered for each name below it with a CNAME that is made and signed for
        # that name. Hardly a zone of a web site has one, and those names can be written down.
        return Problem(
            "dname",
            "A DNAME record, which renames every name below it, cannot be kept: enter those names"
            " one by one, as CNAME records.",
        )
    return Problem(
        "record-type",
        "Records of type {type} cannot be kept; accepted are {accepted}.",
        type=word.encode("ascii", "backslashreplace").decode(),
        accepted=", ".join(ACCEPTED_TYPES),
    )


def is_accepted(number: int) -> bool:
    """Return whether records of this type can be kept."""
    name = type_text(number)
    if name in ACCEPTED_TYPES:
        return True
    meta = number == 0 or _FIRST_META_TYPE <= number <= _LAST_META_TYPE
    # A type that has a name has a meaning (DNAME, RRSIG ...) that we would have to give it.
    return name == f"TYPE{number}" and not meta


def type_text(number: int) -> str:
    """Return what people call a type."""
    return "ALIAS" if number == ALIAS else rdatatype.to_text(rdatatype.RdataType.make(number))


def ttl_of(value: object) -> int:
    """Return a TTL in seconds; JSON's number or a form's text.

    :raises Problem: it is none.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit() and len(text) <= _MAX_TTL_DIGITS:
            value = int(text)
    # A bool is an int in Python; `true` is no number of seconds.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_TTL:
        raise Problem("ttl", "Enter a TTL from 0 to {most} seconds.", most=MAX_TTL)
    return value


def owner_of(text: str, zone: str, *, host: bool = False) -> bytes:
    """Return the owner of a record, relative to its zone, as :class:`Record` has it.

    ``@`` and nothing are the zone itself. A name that ends with the zone's is a whole name, with a
    final dot or without; every other one is relative.

    :param host: it must be a host's name: neither underscores nor a wildcard.
    :raises Problem: it is no name, or outside the zone.
    """
    text = text.strip().lower()
    shown = text[:_MAX_SHOWN]
    if text in ("", APEX):
        return b""
    origin = dns.name.from_text(zone)
    absolute = f"{text.removesuffix('.')}."
    try:
        name = dns.name.from_text(text, None, _CODEC)
        whole = dns.name.from_text(absolute, None, _CODEC)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise Problem("record-name", "{value} is not a name.", value=_plain(shown)) from error
    if name.is_absolute() or whole.is_subdomain(origin):
        if not whole.is_subdomain(origin):
            raise Problem(
                "outside-zone", "{value} is not within {zone}.", value=_plain(shown), zone=zone
            )
        labels = whole.relativize(origin).labels
    else:
        labels = name.labels
    labels = tuple(label.lower() for label in labels)
    pattern = _HOST_LABEL if host else _LABEL
    rest = labels[1:] if labels[:1] == (b"*",) and not host else labels
    length = sum(len(label) + 1 for label in labels) + len(zone)
    if length > _MAX_NAME_CHARACTERS or not all(pattern.fullmatch(label) for label in rest):
        if host:
            raise Problem("host-name", "{value} is not a host name.", value=_plain(shown))
        raise Problem("record-name", "{value} is not a name.", value=_plain(shown))
    return b"".join(bytes((len(label),)) + label for label in labels)


def owner_text(owner: bytes) -> str:
    """Return a record's owner relative to its zone, as zone files write it."""
    return dns.name.Name(owner_labels(owner)).to_text() if owner else APEX


def rdata_of(type_: int, value: str, zone: str) -> bytes:
    """Return the RDATA of a record in canonical form.

    A name in it is relative to the zone if it has neither a dot nor is ``@``'s; a text (TXT) that
    does not begin with a quote is taken as it is.

    :raises Problem: it is no value of this type.
    """
    word = type_text(type_)
    value = value.strip()
    if len(value) > MAX_VALUE_CHARACTERS:
        raise Problem("too-long", "At most {limit} characters.", limit=MAX_VALUE_CHARACTERS)
    if _CONTROL.search(value):
        raise Problem("control-characters", "Remove line breaks and control characters.")
    try:
        if word == "TXT" and not value.startswith("\\#"):
            return _text_rdata(value)
        written = _with_whole_target(word, value)
        rdata = dns.rdata.from_text(
            rdataclass.IN,
            "CNAME" if type_ == ALIAS else rdatatype.RdataType.make(type_),
            written,
            dns.name.from_text(zone),
            relativize=False,
            idna_codec=_CODEC,
        )
        return rdata.to_digestable()
    except (dns.exception.DNSException, ValueError, OverflowError) as error:
        example = _EXAMPLES.get(word, r"\# 2 abcd")
        raise Problem(
            "record-value",
            "{value} cannot be the value of a record of type {type}, which looks like {example}",
            value=_plain(value[:_MAX_SHOWN]),
            type=word,
            example=example,
        ) from error


def value_text(record: Record) -> str:
    """Return the value of a record as zone files write it, with whole names."""
    type_ = rdatatype.CNAME if record.type == ALIAS else rdatatype.RdataType.make(record.type)
    parser = dns.wire.Parser(record.rdata)
    try:
        return dns.rdata.from_wire_parser(rdataclass.IN, type_, parser).to_text()
    except dns.exception.DNSException:  # of a type whose RDATA the old server had wrong
        return rf"\# {len(record.rdata)} {record.rdata.hex()}"


def target_of(record: Record) -> bytes | None:
    """Return the whole wire name that an MX, SRV, NS, CNAME or ALIAS record leads to."""
    offset = {rdatatype.MX: 2, rdatatype.SRV: 6}.get(rdatatype.RdataType.make(record.type), 0)
    if type_text(record.type) in ("MX", "SRV", "NS", "CNAME", "ALIAS"):
        return record.rdata[offset:]
    return None


def _text_rdata(value: str) -> bytes:
    """Return the RDATA of a TXT record; what is too long for one string is split."""
    if value.startswith('"'):
        tokenizer = dns.tokenizer.Tokenizer(value)
        strings = []
        while not (token := tokenizer.get().unescape_to_bytes()).is_eol_or_eof():
            octets = token.value
            strings.append(octets if isinstance(octets, bytes) else octets.encode())
    else:
        strings = [value.encode()]
    pieces = [
        string[start : start + _MAX_STRING_OCTETS]
        for string in strings
        for start in range(0, max(1, len(string)), _MAX_STRING_OCTETS)
    ]
    return TXT(rdataclass.IN, rdatatype.TXT, pieces).to_digestable()


def _with_whole_target(word: str, value: str) -> str:
    """Add the final dot that people leave out: a name with a dot in it is a whole name."""
    place = _TARGET_PLACES.get(word)
    words = value.split()
    if place is None or len(words) <= place or value.startswith("\\#") or not words:
        return value
    target = words[place]
    if "." in target and not target.endswith("."):
        # What stands before and behind may have quotes and blanks: only this word is touched.
        before, found, after = (
            value.rpartition(target) if place == -1 else _partition(value, target, place)
        )
        value = f"{before}{found}.{after}"
    return value


def _partition(value: str, target: str, place: int) -> tuple[str, str, str]:
    """Split ``value`` around its word number ``place``, which is ``target``."""
    start = 0
    for word in value.split()[:place]:
        start = value.index(word, start) + len(word)
    start = value.index(target, start)
    return value[:start], target, value[start + len(target) :]


def _plain(text: str) -> str:
    """Return ``text`` so that it can be shown and encoded anywhere."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


_EXAMPLES: Final = {
    "A": "203.0.113.7",
    "AAAA": "2001:db8::7",
    "ALIAS": "host.provider.example.",
    "CNAME": "host.provider.example.",
    "MX": "10 mail.example.com.",
    "TXT": '"v=spf1 mx -all"',
    "CAA": '0 issue "letsencrypt.org"',
    "SRV": "10 5 5060 sip.example.com.",
    "NS": "ns1.example.net.",
    "PTR": "host.example.com.",
    "TLSA": "3 1 1 (64 hexadecimal digits)",
    "SSHFP": "4 2 (64 hexadecimal digits)",
    "HTTPS": "1 . alpn=h2",
    "SVCB": "1 svc.example.com. port=853",
    "NAPTR": '100 10 "S" "SIP+D2U" "" _sip._udp.example.com.',
    "DS": "12345 13 2 (64 hexadecimal digits)",
    "LOC": "37 33 59 N 126 58 40 E 38m",
    "URI": '10 1 "https://example.com/"',
    "SMIMEA": "3 1 1 (64 hexadecimal digits)",
    "OPENPGPKEY": "(the key in base64)",
}
