"""Names and record sets, kept in the form in which they travel.

Names are wire-format octets in lower case (RFC 1035 section 3.1): ``b"\\x03www\\x07example\\x00"``.
Taking the first label off is one slice, a label may hold any octet (a dot included), and nothing is
converted while a question is answered. A *relative* name is the part in front of a zone's apex and
has no final zero octet: ``b"\\x03www"``, and ``b""`` for the apex itself.

The numbers of types, classes and response codes come from :mod:`twisted.names.dns`. Its record
classes are not used for what we hold: each instance takes several times the memory of its RDATA,
and its ``Name`` cannot carry a label with a dot in it, which the RNAME of an SOA may have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

# RFC 1035 section 2.3.4.
MAX_LABEL_OCTETS: Final = 63
MAX_NAME_OCTETS: Final = 255


class RRset(NamedTuple):
    """The records of one owner and type (RFC 2181 section 5).

    :ivar type: a type number, such as ``twisted.names.dns.A``.
    :ivar ttl: seconds, the same for all of them.
    :ivar rdatas: each record's RDATA, with names in it written out in full.
    """

    type: int
    ttl: int
    rdatas: tuple[bytes, ...]


def wire_name(text: str) -> bytes:
    """Return ``text`` (A-labels between dots, no escapes) as a lower-case wire name.

    :raises ValueError: it is not a name of at most 255 octets with labels of 1 to 63.
    """
    return wire_labels(text.rstrip(".").split("."))


def wire_labels(labels: list[str]) -> bytes:
    """Return ``labels`` (ASCII; dots allowed within) as a lower-case wire name.

    :raises ValueError: as :func:`wire_name`.
    """
    encoded = [label.lower().encode("ascii") for label in labels]
    if not all(1 <= len(label) <= MAX_LABEL_OCTETS for label in encoded):
        raise ValueError(f"{'.'.join(labels)[:300]!r} has a label that is empty or too long")
    name = b"".join(bytes((len(label),)) + label for label in encoded) + b"\0"
    if len(name) > MAX_NAME_OCTETS:
        raise ValueError(f"{'.'.join(labels)[:300]!r} is longer than {MAX_NAME_OCTETS} octets")
    return name


def mailbox_name(email: str) -> bytes:
    """Return the wire name that stands for a mail address in an SOA (RFC 1035 section 3.3.13).

    The local part is one label, dots and all; one longer than a label becomes ``hostmaster``, the
    mailbox that RFC 2142 promises for every zone.

    :raises ValueError: the domain is not a name.
    """
    local, _, domain = email.rpartition("@")
    label = local if 1 <= len(local) <= MAX_LABEL_OCTETS and local.isascii() else "hostmaster"
    return wire_labels([label, *domain.rstrip(".").split(".")])


def suffix_offsets(name: bytes) -> Iterator[int]:
    """Yield where each suffix of the wire name ``name`` begins: itself first, the root last."""
    offset = 0
    while True:
        yield offset
        if not name[offset]:
            return
        offset += 1 + name[offset]


def name_at(rdata: bytes, offset: int) -> bytes:
    """Return the name that begins at ``offset`` in RDATA, where names are written out in full.

    :raises ValueError: the RDATA ends within it.
    """
    end = offset
    while end < len(rdata) and rdata[end]:
        end += 1 + rdata[end]
    if end >= len(rdata):
        raise ValueError("RDATA ends within a name")
    return rdata[offset : end + 1]


def is_below(name: bytes, apex: bytes) -> bool:
    """Whether ``name`` is ``apex`` or below it."""
    start = len(name) - len(apex)
    return start >= 0 and name.endswith(apex) and start in suffix_offsets(name)
