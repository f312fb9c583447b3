"""What a signed zone publishes of its keys, at its apex: DNSKEY, CDS and CDNSKEY. Pure."""

from __future__ import annotations

from typing import Final

from watchducks.model.signing import DNSKEY_TTL_SECONDS, Signing
from watchducks.nameserver.nodes import Node, Nodes
from watchducks.nameserver.records import RRset
from watchducks.nameserver.rrsig import CDNSKEY, CDS, DNSKEY

_OURS: Final = frozenset({DNSKEY, CDS, CDNSKEY})


def publish(nodes: Nodes, apex: bytes, signing: Signing) -> Nodes:
    """Return a zone's nodes with the records of its keys, in place of any there were.

    :param apex: the zone's wire name.
    :param signing: as it is now.
    """
    found = {
        DNSKEY: tuple(key.dnskey for key in signing.keys),
        CDS: signing.cds(apex),
        CDNSKEY: signing.cdnskey(),
    }
    node: Node = {
        **{type_: held for type_, held in nodes.owners[b""].items() if type_ not in _OURS},
        **{
            type_: RRset(type_, DNSKEY_TTL_SECONDS, rdatas)
            for type_, rdatas in found.items()
            if rdatas
        },
    }
    return nodes._replace(owners={**nodes.owners, b"": node})
