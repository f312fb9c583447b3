"""One zone's usual names, asked for one by one: what is there, wildcards and cuts recognised."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import dns.exception
import dns.name
from dns import rcode, rdatatype
from dns.name import Name
from dns.rdata import Rdata
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.NS import NS
from dns.rdtypes.IN.SRV import SRV
from dns.rdtypes.svcbbase import SVCBBase

from watchducks.lookups import usual
from watchducks.lookups.client import LookupFailed
from watchducks.lookups.message import Found, Response
from watchducks.lookups.panel import Panel
from watchducks.lookups.together import attempt_all

# Questions of one scan under way: with 50 ms to a server, some 300 a second spread over two to four
# servers, which is what one busy resolver sends them.
IN_FLIGHT: Final = 16
# The usual names and what they lead to; a hostile zone could lead on for ever.
MAX_NAMES: Final = 600
# Below these, wildcards of their own are in use: "no mail of ours is signed with any key".
WILDCARD_PARENTS: Final = ("", "_domainkey")

_ADDRESSES: Final = (rdatatype.A, rdatatype.AAAA)

# What one name answered: type that was asked for -> records of that name.
Answers = dict[int, list[Found]]


class Asking:
    """Asks for names of a zone, and for those of it that their records lead to.

    :ivar unanswered: names of which not everything could be asked, with the last reason.
    """

    def __init__(
        self, panel: Panel, zone: Name, questions: Iterable[tuple[str, tuple[int, ...]]], token: str
    ) -> None:
        """
        :param questions: names relative to the zone, each with the types to ask for.
        :param token: a label that nobody has in his zone, to find wildcards by.
        """
        self._panel = panel
        self._zone = zone
        self._waiting: deque[tuple[Name, tuple[int, ...]]] = deque()
        self._known: set[Name] = set()
        self._answers: dict[Name, Answers] = {}
        self._cuts: dict[Name, list[Found]] = {}
        self._wild = {self._name(f"{token}.{parent}"): parent for parent in WILDCARD_PARENTS}
        self._under_way = 0
        self.unanswered: dict[Name, str] = {}
        for name in self._wild:
            self._add(name, usual.WILDCARD_TYPES)
        for relative, types in questions:
            self._add(self._name(relative), types)

    @property
    def left(self) -> int:
        """How many names have not been asked for, or not been answered, yet."""
        return len(self._waiting) + self._under_way

    async def run(self) -> None:
        """Ask for everything. What was found until a cancellation stays."""
        await attempt_all([self._work() for _ in range(IN_FLIGHT)])

    def found(self) -> Iterator[Found]:
        """Give the records of the zone, its delegations with glue, and wildcards as ``*``."""
        wildcards: dict[Name, Answers] = {}
        for name, parent in self._wild.items():
            answers = self._answers.get(name, {})
            if any(answers.values()) and not _covered(name, answers, wildcards):
                wildcards[self._name(parent)] = answers
        for above, answers in wildcards.items():
            star = Name((b"*", *above.labels))
            for records in answers.values():
                yield from (record._replace(owner=star) for record in records)
        for name, answers in self._answers.items():
            if name not in self._wild and not _covered(name, answers, wildcards):
                for records in answers.values():
                    yield from records
        for records in self._cuts.values():
            yield from records

    def _name(self, relative: str) -> Name:
        return dns.name.from_text(relative.strip(".") or "@", self._zone)

    def _add(self, name: Name, types: tuple[int, ...]) -> None:
        if name not in self._known and len(self._known) < MAX_NAMES:
            self._known.add(name)
            self._waiting.append((name, types))

    async def _work(self) -> None:
        while self._waiting:
            name, types = self._waiting.popleft()
            self._under_way += 1
            try:
                await self._ask(name, types)
            except LookupFailed as error:
                self.unanswered[name] = str(error)
            self._under_way -= 1

    async def _ask(self, name: Name, types: Sequence[int]) -> None:
        """Ask for each type, unless the first answer shows that more would tell nothing."""
        for type_ in types:
            response = await self._panel.ask(name, type_)
            cut = self._panel.cut(response, name)
            if cut is not None:
                await self._delegated(cut, response)
                return
            own = [record for record in response.answer if record.owner == name]
            self._answers.setdefault(name, {})[type_] = [r for r in own if _fits(r, type_)]
            self._follow(own)
            if response.rcode == rcode.NXDOMAIN or any(
                record.type == rdatatype.CNAME for record in own
            ):
                return

    async def _delegated(self, cut: Name, response: Response) -> None:
        """Keep a delegation: NS, glue, and the DS that belongs to it."""
        if cut in self._cuts or not cut.is_subdomain(self._zone) or cut == self._zone:
            return
        servers = [r for r in response.authority if r.owner == cut and isinstance(r.rdata, NS)]
        hosts = {record.rdata.target for record in servers if isinstance(record.rdata, NS)}
        self._cuts[cut] = servers + [
            record
            for record in response.additional
            if record.type in _ADDRESSES
            and record.owner in hosts
            and record.owner.is_subdomain(cut)
        ]
        signed = await self._panel.ask(cut, rdatatype.DS)
        self._cuts[cut] += [
            record
            for record in signed.answer
            if record.owner == cut and record.type == rdatatype.DS
        ]

    def _follow(self, records: Iterable[Found]) -> None:
        """Ask for what the records lead to as well, as far as it is in the zone: without it they
        would lead nowhere."""
        for record in records:
            target = _target(record.rdata)
            if target is not None and target.is_subdomain(self._zone):
                self._add(target, usual.HOST_TYPES)


def _fits(record: Found, type_: int) -> bool:
    return record.type in (type_, rdatatype.CNAME)


def _target(rdata: Rdata) -> Name | None:
    if isinstance(rdata, CNAME | NS | SRV | SVCBBase):
        return rdata.target
    return rdata.exchange if isinstance(rdata, MX) else None


def _covered(name: Name, answers: Answers, wildcards: Mapping[Name, Answers]) -> bool:
    """Whether a name answered just as a wildcard above it does, and so is none of its own."""
    return any(
        name != above
        and name.is_subdomain(above)
        and all(
            {record.rdata for record in records}
            == {record.rdata for record in of_wildcard.get(type_, _alias(of_wildcard))}
            for type_, records in answers.items()
        )
        for above, of_wildcard in wildcards.items()
    )


def _alias(answers: Answers) -> list[Found]:
    """A wildcard that is a CNAME answered the first question with it, and was asked no more."""
    records = next(iter(answers.values()), [])
    return [record for record in records if record.type == rdatatype.CNAME]
