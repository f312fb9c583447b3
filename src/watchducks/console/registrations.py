"""Registrations: the form's way through the registry, and live validation while somebody types."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.console.answers import Refusal
from watchducks.console.interfaces import Blocks, Sites
from watchducks.console.languages import mark
from watchducks.console.rates import RateLimit
from watchducks.model.accounts import Actor
from watchducks.model.blocks import Block, keys_of
from watchducks.model.names import zone_of
from watchducks.model.origins import Address, Origin, leads_back
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import Site
from watchducks.registry.registration import Policy, validate, validate_changes, validate_field

# The form's labels and hints, in its order: field -> (label, hint, input type, autocomplete).
LABELS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "name": (
        mark("Site name"),
        mark("What you call it here. It becomes part of this console's address."),
        "text",
        "off",
    ),
    "domain": (mark("Domain"), mark("For example example.com."), "text", "url"),
    "origin": (
        mark("Your server's address"),
        mark("Where the site runs today, such as 203.0.113.7 or origin.example.net."),
        "text",
        "off",
    ),
    "email": (
        mark("E-mail"),
        mark("Where we reach you. It is not shown to anyone."),
        "email",
        "email",
    ),
    "cohort": (
        mark("Cohort (optional)"),
        mark("The group your site is compared with, such as a class or a team."),
        "text",
        "off",
    ),
}

# Sites that one network registers: a class at its first lesson; beyond, a site a minute.
NETWORK_PER_SECOND: Final = 1 / 60
NETWORK_BURST: Final = 40
# Sites with one e-mail address. Each sends it a letter, whoever it belongs to.
ADDRESS_PER_SECOND: Final = 1 / 600
ADDRESS_BURST: Final = 20
# This very host, and a local socket.
_HERE: Final = frozenset({"127.0.0.0/24", "::/48", ""})


class Registrations:
    """Registers sites and checks single fields.

    :param policy: what the sysadmin's configuration says about origins.
    """

    _log = Logger(namespace="watchducks.console")

    def __init__(self, sites: Sites, blocks: Blocks, policy: Policy, clock: IReactorTime) -> None:
        self._sites = sites
        self._blocks = blocks
        self._policy = policy
        self._networks = RateLimit(NETWORK_PER_SECOND, NETWORK_BURST, clock)
        self._addresses = RateLimit(ADDRESS_PER_SECOND, ADDRESS_BURST, clock)

    async def register(
        self,
        fields: Mapping[str, object],
        *,
        by: Actor,
        address: str,
        language: str = "",
        limited: bool = True,
    ) -> tuple[Site, str]:
        """Register what ``fields`` ask for; return the site and its owner's token.

        :param by: who asks, and from which network. :param address: his own; "": it has none.
        :param limited: of each network and address only so many sites are taken at once, but for
            this host, and what is blocked is refused; False: it is an admin who asks.
        :param language: what its owner reads; "": not known.
        :raises Refusal: 429, there were too many; 403, it is blocked.
        :raises InvalidFields: with every problem, or because a name is taken.
        """
        wanted = replace(validate(fields, self._policy), language=language)
        if limited:
            here = by.network in _HERE
            known = here or self._networks.allows(by.network)
            if not (known and self._addresses.allows(wanted.email.lower())):
                problem = Problem("too-many", mark("Too many requests; try again in a minute."))
                raise Refusal(429, problem, headers={"Retry-After": "60"})
            zone = wanted.zone or zone_of(wanted.domain)
            visitor = _address(address)
            await self._heed(keys_of((wanted.domain, zone), wanted.email, wanted.origin, visitor))
        return await self._sites.register(wanted, by=by)

    async def wanted(self, fields: Mapping[str, str], *, address: str) -> tuple[str, str, Origin]:
        """Return domain, zone and origin of a site that could be registered.

        :raises Refusal: 403, it is blocked. :raises InvalidFields: it could not.
        """
        problems: dict[str, Problem] = {}
        values: dict[str, str | Origin] = {}
        for field in ("domain", "origin"):
            try:
                values[field] = validate_field(field, fields.get(field, ""), self._policy)
            except Problem as problem:
                problems[field] = problem
        domain, origin = values.get("domain"), values.get("origin")
        if problems or not isinstance(domain, str) or not isinstance(origin, Origin):
            raise InvalidFields(problems)
        zone = zone_of(domain)
        back = leads_back(origin, (domain, zone, f"www.{zone}"))
        if back is not None:
            raise InvalidFields({"origin": back})
        await self._heed(keys_of((domain, zone), "", origin, _address(address)))
        return domain, zone, origin

    async def change(self, name: str, fields: Mapping[str, object], *, by: Actor) -> Site:
        """Change the site ``name`` as ``fields`` ask for, and return it.

        :raises Refusal: 403, what it is to be is blocked.
        :raises InvalidFields: with every problem.
        :raises SiteNotFound: there is no such site (any more).
        """
        changes = validate_changes(fields, self._policy)
        await self._heed(keys_of((), changes.email or "", changes.origin, None))
        return await self._sites.update(name, changes, by=by)

    async def _heed(self, keys: frozenset[str]) -> None:
        """Refuse what is blocked, without a word about why: who is unwelcome learns nothing."""
        block = await self._blocks.refusing(keys) if keys else None
        if block is not None:
            self._log.info("refused for the block {number}, {value}", **_named(block))
            words = mark(
                "This cannot be accepted. If you think that is a mistake, ask whoever runs this"
                " service."
            )
            raise Refusal(403, Problem("refused", words))

    async def check(self, field: str, value: str) -> Problem | None:
        """Return what is wrong with one field's value, or None.

        Nothing is promised: somebody else may still be first.
        """
        try:
            normalised = validate_field(field, value, self._policy)
        except Problem as problem:
            return problem
        value = str(normalised)
        if field == "name" and await self._sites.site(value):
            return Problem("taken", "The name {value} is taken.", value=value)
        if field == "domain" and await self._sites.site_for_host(value):
            return Problem("registered", "{value} is registered already.", value=value)
        return None


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _named(block: Block) -> dict[str, object]:
    return {"number": block.number, "value": block.value}
