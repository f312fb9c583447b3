"""Questions for recursive resolvers: those of ``node.resolvers``, or the system's."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import dns.rcode
import dns.rdatatype
from dns.name import Name
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from watchducks.lookups.client import Client, LookupFailed, Server
from watchducks.lookups.message import Found, Response
from watchducks.lookups.together import attempt_all
from watchducks.model.origins import Address

SYSTEM_RESOLVERS: Final = Path("/etc/resolv.conf")
# What resolv.conf(5) itself reads.
MAX_SYSTEM_RESOLVERS: Final = 3
# CNAMEs from a name to its addresses; resolvers themselves follow 8 to 16.
MAX_CHAIN: Final = 16
# Of one name: more are no server's but somebody's joke.
MAX_ADDRESSES: Final = 32

_USABLE: Final = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


def find_resolvers(
    configured: Sequence[tuple[Address, int]], system: Path = SYSTEM_RESOLVERS
) -> list[Server]:
    """Return the resolvers of ``node.resolvers``, or those of the system if it names none.

    Reads a file, so it is for the start; an unreadable file names none.
    """
    if configured:
        return [Server(*resolver) for resolver in configured]
    try:
        lines = system.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                found.append(Server(ipaddress.ip_address(words[1].partition("%")[0])))
            except ValueError:
                continue
    return found[:MAX_SYSTEM_RESOLVERS]


class Resolver:
    """Asks the resolvers in turn, beginning with the one that answered last."""

    def __init__(self, servers: Sequence[Server], client: Client) -> None:
        self._servers = list(servers)
        self._client = client

    async def ask(self, name: Name, type_: int) -> Response:
        """Return what a resolver found: an answer, or that there is none (NOERROR or NXDOMAIN).

        :raises LookupFailed: no resolver could tell.
        """
        if not self._servers:
            raise LookupFailed("there is no recursive resolver to ask (node.resolvers)")
        reasons = []
        for server in list(self._servers):
            try:
                response = await self._client.ask_resolver(server, name, type_)
            except LookupFailed as error:
                reasons.append(str(error))
                continue
            if response.rcode in _USABLE:
                self._prefer(server)
                return response
            reasons.append(
                f"{server} answered {dns.rcode.to_text(dns.rcode.Rcode(response.rcode))}"
            )
        raise LookupFailed(f"{name} cannot be looked up: {'; '.join(reasons)}")

    def _prefer(self, server: Server) -> None:
        if self._servers[0] != server and server in self._servers:
            self._servers.remove(server)
            self._servers.insert(0, server)

    async def addresses(self, name: Name) -> tuple[tuple[Address, ...], int]:
        """Return the addresses of a host, IPv4 first, and for how many seconds they are good.

        No address and 0 seconds: the name has none, or does not exist.

        A name whose IPv6 addresses alone could not be looked up has its IPv4 ones: some servers do
        not answer for AAAA.

        :raises LookupFailed: what was found may be less than there is.
        """
        kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
        both = await attempt_all([self._addresses(name, kind) for kind in kinds])
        found = [part for part in both if not isinstance(part, LookupFailed)]
        failed = next((part for part in both if isinstance(part, LookupFailed)), None)
        if failed is not None and (failed is both[0] or not any(found)):
            raise failed
        records = [record for part in found for record in part][:MAX_ADDRESSES]
        addresses = tuple(
            ipaddress.ip_address(record.rdata.address)
            for record in records
            if isinstance(record.rdata, A | AAAA)
        )
        return addresses, min((record.ttl for record in records), default=0)

    async def _addresses(self, name: Name, type_: int) -> list[Found]:
        response = await self.ask(name, type_)
        return follow(response.answer, name, type_)


def follow(answer: Sequence[Found], name: Name, type_: int) -> list[Found]:
    """Return the records of ``type_`` in an answer that belong to ``name``, or to what its CNAMEs
    lead to. Each has the least TTL of its chain."""
    ttl: int | None = None
    for _ in range(MAX_CHAIN):
        found = [record for record in answer if record.owner == name and record.type == type_]
        if found:
            return [
                record._replace(ttl=record.ttl if ttl is None else min(ttl, record.ttl))
                for record in found
            ]
        aliases = [
            (record.ttl, record.rdata.target)
            for record in answer
            if record.owner == name and isinstance(record.rdata, CNAME)
        ]
        if not aliases:
            break
        ttl = aliases[0][0] if ttl is None else min(ttl, aliases[0][0])
        name = aliases[0][1]
    return []
