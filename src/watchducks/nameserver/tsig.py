"""TSIG (RFC 8945) for what we send: dnspython makes the digests, and checks what we receive."""

from __future__ import annotations

import base64
import struct
from typing import Any, Final

import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TSIG
import dns.tsig

# How far clocks may be apart, seconds (RFC 8945 section 10).
FUDGE_SECONDS: Final = 300

_FIXED_RR = struct.Struct("!HHLH")
_ADDITIONAL = struct.Struct("!H")


def make_key(text: str) -> dns.tsig.Key:
    """Return the key of ``nameserver.transfer_key``, ``[ALGORITHM:]NAME:BASE64`` as for dig's -y,
    which the settings have checked."""
    *algorithm, name, secret = text.split(":")
    return dns.tsig.Key(
        dns.name.from_text(name),
        base64.b64decode(secret),
        dns.name.from_text(algorithm[0] if algorithm else "hmac-sha256"),
    )


def signed(
    packet: bytes, request: dns.message.Message, key: dns.tsig.Key, now: int, context: Any
) -> tuple[bytes, Any]:
    """Return one message of the answer to ``request`` with its TSIG.

    :param now: POSIX seconds.
    :param context: None for the first message, then what was returned with the one before.
    """
    tsig, context = dns.tsig.sign(  # type: ignore[no-untyped-call]
        packet, key, _template(key, request.id, now), now, request.mac, context, multi=True
    )
    return _with(packet, key, tsig), context


def signed_alone(packet: bytes, key: dns.tsig.Key, number: int, now: int) -> bytes:
    """Return a message that answers nothing with its TSIG. :param number: its id."""
    tsig, _ = dns.tsig.sign(  # type: ignore[no-untyped-call]
        packet, key, _template(key, number, now), now
    )
    return _with(packet, key, tsig)


def _template(key: dns.tsig.Key, number: int, now: int) -> dns.rdtypes.ANY.TSIG.TSIG:
    return dns.rdtypes.ANY.TSIG.TSIG(  # type: ignore[no-untyped-call]
        dns.rdataclass.ANY,
        dns.rdatatype.TSIG,
        key.algorithm,
        now,
        FUDGE_SECONDS,
        b"",
        number,
        0,
        b"",
    )


def _with(packet: bytes, key: dns.tsig.Key, tsig: Any) -> bytes:
    """Return ``packet``, whose additional section is empty, with the record at its end."""
    octets: bytes = tsig.to_wire()
    record = (
        key.name.to_digestable()
        + _FIXED_RR.pack(dns.rdatatype.TSIG, dns.rdataclass.ANY, 0, len(octets))
        + octets
    )
    return packet[:10] + _ADDITIONAL.pack(1) + packet[12:] + record
