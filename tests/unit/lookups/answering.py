"""A client for tests of the rules: the name servers behind it are a list of records."""

from __future__ import annotations

import dns.name
import dns.rdata
import dns.rdataclass
from dns import rcode, rdatatype
from dns.name import Name

from watchducks.lookups.client import LookupFailed, Server
from watchducks.lookups.message import Found, Response


def found(owner: str, type_: str, value: str, ttl: int = 60) -> Found:
    """Return one record, as an answer holds it."""
    number = rdatatype.from_text(type_)
    rdata = dns.rdata.from_text(dns.rdataclass.IN, number, value)
    return Found(dns.name.from_text(owner), int(number), ttl, rdata)


class FakeClient:
    """What :class:`watchducks.lookups.panel.Asks` asks for.

    :ivar records: what the servers hold; a name that is not there is NXDOMAIN.
    :ivar silent: servers that do not answer.
    :ivar transfers: whether they allow transfers.
    :ivar lame: with which code they answer without authority, if they do.
    :ivar asked: (server, name, type), in order.
    """

    def __init__(self, *records: Found) -> None:
        self.records = list(records)
        self.silent: set[Server] = set()
        self.transfers = False
        self.asked: list[tuple[Server, Name, int]] = []
        self.lame: rcode.Rcode | None = None

    async def ask(self, server: Server, name: Name, type_: int) -> Response:
        """Answer as an authoritative server without wildcards."""
        self.asked.append((server, name, type_))
        if server in self.silent:
            raise LookupFailed(f"{server} did not answer")
        if self.lame is not None:
            return Response(
                self.lame, authoritative=False, truncated=False, answer=tuple(self.records)
            )
        there = [one for one in self.records if one.owner == name]
        fitting = tuple(one for one in there if one.type in (type_, rdatatype.CNAME))
        below = any(one.owner.is_subdomain(name) for one in self.records)
        code = rcode.NOERROR if there or below else rcode.NXDOMAIN
        return Response(code, authoritative=True, truncated=False, answer=fitting)

    async def transfer(self, server: Server, zone: Name) -> list[Found]:
        """Give everything, or refuse."""
        if not self.transfers or server in self.silent:
            raise LookupFailed(f"{server} refuses the transfer")
        return self.records
