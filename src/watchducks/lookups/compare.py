"""What would change for a zone's visitors if its name servers were changed now. Pure rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dns import rdatatype

from watchducks.lookups.found import owner_of_host
from watchducks.model.origins import Address
from watchducks.model.presentation import owner_text, type_text, value_text
from watchducks.model.zones import APEX, Record, ZoneContents

# The addresses of a name, however they are come by.
_ADDRESSES = (int(rdatatype.A), int(rdatatype.AAAA))
# What of a proxied host is replaced by our addresses.
_REPLACED = (*_ADDRESSES, int(rdatatype.CNAME), int(rdatatype.HTTPS))


@dataclass(frozen=True, slots=True)
class Change:
    """One name's records of one type, before and after, as people write them.

    :ivar name: relative to the zone; ``@`` is the zone itself.
    :ivar old_ttl: seconds; None: there was none. :ivar new_ttl: likewise.
    """

    name: str
    type: str
    old: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    old_ttl: int | None = None
    new_ttl: int | None = None


@dataclass(frozen=True, slots=True)
class Differences:
    """:ivar expected: what changes because that is what is wanted: the addresses of proxied hosts,
    and the name servers."""

    added: tuple[Change, ...]
    changed: tuple[Change, ...]
    removed: tuple[Change, ...]
    expected: tuple[Change, ...]

    @property
    def harmless(self) -> bool:
        """Whether nobody would miss anything."""
        return not self.changed and not self.removed


def compare(
    old: Iterable[Record],
    contents: ZoneContents,
    proxies: Sequence[Address],
    *,
    ttl: int,
    servers: Change | None = None,
) -> Differences:
    """Return how ``old``, the records of a scan, differ from what we would answer.

    A difference in TTL alone is none: nobody sees another answer by it. An alias (CNAME) or HTTPS
    record at a proxied host is replaced by our addresses, and so belongs to the expected changes.

    :param proxies: what we answer for the proxied hosts, with ``ttl`` seconds.
    :param servers: how the zone's name servers change (:func:`change_of_servers`).
    """
    before = _sets(old)
    after = _sets([*contents.records, *made(contents, proxies, ttl=ttl)])
    proxied = {owner_of_host(host) for host in contents.proxied}
    wanted = [] if servers is None else [servers]
    kinds: dict[str, list[Change]] = {"added": [], "changed": [], "removed": [], "expected": wanted}
    for key in sorted(before.keys() | after.keys()):
        ours, theirs = after.get(key, {}), before.get(key, {})
        if ours.keys() == theirs.keys():
            continue
        owner, type_ = key
        if owner in proxied and type_ in _REPLACED:
            kind = "expected"
        elif theirs:
            kind = "changed" if ours else "removed"
        else:
            kind = "added"
        kinds[kind].append(_change(theirs, ours))
    return Differences(**{kind: tuple(changes) for kind, changes in kinds.items()})


def change_of_servers(old: Iterable[str], new: Iterable[str]) -> Change | None:
    """Return how the NS of the zone itself change, given host names; None: they stay."""
    before, after = (tuple(sorted({f"{name.lower()}." for name in names})) for names in (old, new))
    return None if before == after else Change(APEX, "NS", before, after)


def made(contents: ZoneContents, proxies: Sequence[Address], *, ttl: int) -> list[Record]:
    """Return the addresses that we answer for the proxied hosts while a proxy is healthy."""
    return [
        Record(owner_of_host(host), _ADDRESSES[address.version == 6], ttl, address.packed)
        for host in contents.proxied
        for address in proxies
    ]


# One RRset: value -> its record.
_Set = dict[bytes, Record]


def _sets(records: Iterable[Record]) -> dict[tuple[bytes, int], _Set]:
    sets: dict[tuple[bytes, int], _Set] = {}
    for record in records:
        sets.setdefault((record.owner, record.type), {})[record.rdata] = record
    return sets


def _change(old: _Set, new: _Set) -> Change:
    one = next(iter((*old.values(), *new.values())))
    return Change(
        owner_text(one.owner),
        type_text(one.type),
        tuple(sorted(map(value_text, old.values()))),
        tuple(sorted(map(value_text, new.values()))),
        next((record.ttl for record in old.values()), None),
        next((record.ttl for record in new.values()), None),
    )
