"""What is known of those who ask: browser, system, device; whether a person; from where.

Worked out once a source, of which a segment has far fewer than rows, and remembered: most of the
next segment's sources are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple, Protocol

from watchducks.journal.agents import UNKNOWN, Agent, Agents
from watchducks.journal.bots import (
    A_PERSON,
    DATA_CENTRE,
    FALSE,
    HEADLESS,
    NO_ASSETS,
    PERSON,
    VERIFIED,
    Bots,
    Claim,
    Crawler,
)
from watchducks.journal.channels import Channels
from watchducks.journal.places import Places, read_address, truncated
from watchducks.journal.records import KEPT_SOURCES, Source, forget_sources
from watchducks.journal.visitors import NO_VISITOR, visitor_id
from watchducks.model.origins import Address
from watchducks.model.sites import DEFAULT_CHOICES, SiteChoices

VISITOR: Final = Struct("<Q")
NOBODY: Final = VISITOR.pack(NO_VISITOR)
# Of them it is known that they are what they say, or that a browser is all they have.
_WITH_AGENT: Final = frozenset({PERSON, HEADLESS})
# Who has left is not remembered for longer. To find everybody out anew takes the thread 90 ms at
# most, those of :data:`KEPT_SOURCES`.
KEPT_SECONDS: Final = 600.0


class About(NamedTuple):
    """What is known of a source.

    :ivar visitor: the visitor's id, packed.
    """

    visitor: bytes
    browser: str = ""
    browser_version: str = ""
    system: str = ""
    device: str = ""
    bot: str = ""
    bot_reason: str = ""
    country: str = ""
    network: str = ""

    @property
    def is_person(self) -> bool:
        """Whether nothing says that it is a bot."""
        return self.bot_reason == PERSON

    def without_id(self) -> About:
        """Return the same of a visitor who is not to be recognised."""
        return self._replace(visitor=NOBODY, network="")

    def without_assets(self) -> About:
        """Return the same of one who loads no parts of pages."""
        return self._replace(bot_reason=NO_ASSETS) if self.is_person else self


class Verdicts(Protocol):
    """Who crawlers are: :class:`watchducks.journal.verification.CrawlerChecks`."""

    def verdict(self, crawler: Crawler, address: Address) -> bool | None:
        """Return whether an address is one of the crawler's; None: not known, or not yet."""


class NoVerdicts:
    """Where nobody can be asked."""

    def verdict(self, crawler: Crawler, address: Address) -> None:
        """Return that it is not known."""


class _Known(NamedTuple):
    """What is known of a source for as long as the files and its owner's choices are the same.

    :ivar crawler: whom it says to be, unless that is certain.
    :ivar address: the crawler's.
    """

    about: About
    crawler: Crawler | None
    address: Address | None


class Knowledge:
    """What enrichment knows: everything that is asked about a source. For one thread at a time.

    Making one takes 0.1 s, most of it for ``agents``.
    """

    def __init__(
        self,
        *,
        places: Places | None = None,
        choices: Callable[[int], SiteChoices] = lambda _: DEFAULT_CHOICES,
        verdicts: Verdicts | None = None,
    ) -> None:
        """:param choices: of a site's owner, by the site's number."""
        self.choices = choices
        self.channels = Channels()
        self._places = places or Places()
        self._agents = Agents()
        self._bots = Bots()
        self._verdicts = verdicts or NoVerdicts()
        # 5 us each without; 0.3 with it.
        self._known = lru_cache(maxsize=KEPT_SOURCES)(self._find_out)
        self._forgot = 0.0

    def refresh(self, now: float) -> None:
        """Read the files again if they have changed, and forget who was here for long. Blocks.

        :param now: seconds of a clock that does not jump.
        """
        if self._places.refresh(now) or now >= self._forgot + KEPT_SECONDS:
            self._forgot = now
            self.forget()

    def forget(self) -> None:
        """Forget who is who: what is remembered leads from addresses to visitors' ids."""
        self._known.cache_clear()
        forget_sources()

    def about(self, source: Source, key: bytes | None) -> About:
        """Return what is known of a source.

        :param key: of visitor ids, that day's; None: it is gone.
        """
        keep_networks = self.choices(source.site_id).keep_networks
        about, crawler, address = self._known(source, key, keep_networks)
        if crawler is not None and crawler.domains and address is not None:
            verdict = self._verdicts.verdict(crawler, address)
            if verdict is not None:
                return about._replace(bot_reason=VERIFIED if verdict else FALSE)
        return about

    def _find_out(self, source: Source, key: bytes | None, keep_networks: bool) -> _Known:  # noqa: FBT001  a cache's key
        address = read_address(source.client)
        country, in_data_centre = ("", False) if address is None else self._places.of(address)
        network = truncated(address) if address is not None and keep_networks else ""
        if source.kind != "request":
            # A connection shows too little of its maker.
            return _Known(About(NOBODY, country=country, network=network), None, None)
        claim = self._bots.claim(source.user_agent)
        crawler: Crawler | None = None
        if claim.crawler is not None and address is not None:
            if claim.crawler.publishes(address):
                claim = claim._replace(reason=VERIFIED)
            else:
                crawler = claim.crawler
        elif claim is A_PERSON and in_data_centre:
            claim = Claim("", DATA_CENTRE)
        agent: Agent = UNKNOWN
        if claim.reason in _WITH_AGENT or claim.reason == DATA_CENTRE:
            agent = self._agents.of(source.user_agent)
        visitor = NOBODY
        if key is not None:
            visitor = VISITOR.pack(
                visitor_id(key, source.site_id, source.client, source.user_agent)
            )
        about = About(visitor, *agent, claim.bot, claim.reason, country, network)
        return _Known(about, crawler, address if crawler is not None else None)
