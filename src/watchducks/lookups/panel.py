"""The name servers of one zone, sharing the questions: who does not answer is asked no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import dns.rcode
from dns import rdatatype
from dns.name import Name

from watchducks.lookups.client import LookupFailed, Server
from watchducks.lookups.message import Found, Response

# Servers a question is put to: the second answers when the first one's packet was lost twice.
ATTEMPTS: Final = 2
# Failures in a row after which a server is left alone. Each costs up to 3 s of the scan's few.
MAX_FAILURES: Final = 3


class Asks(Protocol):
    """Puts one question to one server: :class:`watchducks.lookups.client.Client`."""

    async def ask(self, server: Server, name: Name, type_: int) -> Response:
        """Return the response. :raises LookupFailed: there is none that can be used."""

    async def transfer(self, server: Server, zone: Name) -> list[Found]:
        """Return all records of the zone. :raises LookupFailed: the server does not give them."""


class Panel:
    """
    :param apex: the zone that the servers hold.
    :ivar reasons: server -> why it is not asked any more, or what it did wrong last.
    """

    def __init__(self, servers: Sequence[Server], apex: Name, client: Asks) -> None:
        self.apex = apex
        self.reasons: dict[Server, str] = {}
        self._servers = list(dict.fromkeys(servers))
        self._failures = dict.fromkeys(self._servers, 0)
        self._client = client

    async def ask(self, name: Name, type_: int) -> Response:
        """Return what one of the servers answers: data, a referral, or that there is nothing.

        :raises LookupFailed: none of those asked did.
        """
        why = "no name server is left to ask"
        asked: set[Server] = set()
        for _ in range(ATTEMPTS):
            server = self._next(asked)
            if server is None:
                break
            asked.add(server)
            try:
                response = await self._client.ask(server, name, type_)
            except LookupFailed as error:
                why = str(error)
            else:
                if self._answers(response, name):
                    self._failures[server] = 0
                    return response
                why = f"{server} does not answer for {self.apex.to_text(omit_final_dot=True)}"
            self._failed(server, why)
        raise LookupFailed(why)

    def _next(self, asked: set[Server]) -> Server | None:
        """Return the server whose turn it is; the turn goes round."""
        for server in self._servers:
            if server not in asked:
                self._servers.remove(server)
                self._servers.append(server)
                return server
        return None

    def _failed(self, server: Server, why: str) -> None:
        self.reasons[server] = why
        self._failures[server] += 1
        if self._failures[server] >= MAX_FAILURES and server in self._servers:
            self._servers.remove(server)

    def _answers(self, response: Response, name: Name) -> bool:
        if response.rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return False
        return response.authoritative or self.cut(response, name) is not None

    def cut(self, response: Response, name: Name) -> Name | None:
        """Return the zone below ours to which a response refers those who ask for ``name``."""
        if response.authoritative or response.answer:
            return None
        for record in response.authority:
            owner = record.owner
            if (
                record.type == rdatatype.NS
                and owner != self.apex
                and owner.is_subdomain(self.apex)
                and name.is_subdomain(owner)
            ):
                return owner
        return None
