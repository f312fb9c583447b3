"""Who is no person, and why we say so: what a User-Agent declares, or does not.

The names are in crawlers.toml. A person's browser says ``Mozilla/`` (or, long ago, ``Opera/``) and
nothing of a bot; whoever wants to pass for one can, and is then found by other things, or is not.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from watchducks.journal.agents import WORD_CHARACTERS
from watchducks.model.origins import Address, Network

# Reasons; "" is a person.
PERSON: Final = ""
DECLARED: Final = "declared-crawler"
DECLARED_AI: Final = "declared-ai-crawler"
VERIFIED: Final = "verified-crawler"
# Says it is one whose addresses are known, and comes from others.
FALSE: Final = "false-crawler"
HEADLESS: Final = "headless"
TOOL: Final = "tool"
NO_USER_AGENT: Final = "no-user-agent"
DATA_CENTRE: Final = "data-centre"
NO_ASSETS: Final = "no-assets"

# 5 us each without; some 8 MB when all are as long as they may be.
KEPT_CLAIMS: Final = 8192

_FILE: Final = Path(__file__).with_name("crawlers.toml")
_BROWSERS: Final = ("mozilla/", "opera/")
# How those who are not listed call themselves. "cubot" is a telephone.
_WORDS: Final = ("bot", "crawl", "spider", "scrape", "archiver", "fetcher")
_CRAWLING: Final = re.compile(
    rf"[a-z0-9._-]{{0,40}}(?:(?<!cu){'|'.join(_WORDS)})[a-z0-9._-]{{0,20}}"
)


class Crawler(NamedTuple):
    """:ivar domains: where its addresses lead by reverse DNS; none: it cannot be checked."""

    name: str
    kind: str
    tokens: tuple[str, ...]
    domains: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Crawler:
        """Read one entry of crawlers.toml."""
        return cls(
            entry["name"],
            entry.get("kind", ""),
            tuple(entry["tokens"]),
            tuple(entry.get("domains", ())),
            tuple(map(ipaddress.ip_network, entry.get("networks", ()))),
        )

    def publishes(self, address: Address) -> bool:
        """Whether its operator says that this address is one of its own."""
        return any(address in network for network in self.networks)

    def owns(self, host: str) -> bool:
        """Whether a host that reverse DNS names is one of its own."""
        return any(f".{host}".endswith(f".{domain}") for domain in self.domains)


class Claim(NamedTuple):
    """What a User-Agent makes of its sender.

    :ivar bot: a name; "": a person, or nobody we have a name for.
    :ivar crawler: a listed one, which may be checked.
    """

    bot: str
    reason: str
    crawler: Crawler | None = None


A_PERSON: Final = Claim("", PERSON)


class Bots:
    """The known ones. For one thread at a time."""

    def __init__(self, file: Path = _FILE) -> None:
        entries = tomllib.loads(file.read_text("utf-8"))
        self.crawlers = tuple(map(Crawler.of, entries["crawlers"]))
        self._by_token = _by_token(self.crawlers)
        self._headless = _by_token(map(Crawler.of, entries["headless"]))
        self._tools = tuple(map(Crawler.of, entries["tools"]))
        self.claim = lru_cache(maxsize=KEPT_CLAIMS)(self._claim)

    def _claim(self, user_agent: str) -> Claim:
        """Return what ``user_agent`` declares; it may hold anything."""
        lower = user_agent.strip().lower()
        if not lower:
            return Claim("", NO_USER_AGENT)
        crawler = _first(self._by_token, lower)
        if crawler is not None:
            reason = DECLARED_AI if crawler.kind == "ai" else DECLARED
            return Claim(crawler.name, reason, crawler)
        headless = _first(self._headless, lower)
        if headless is not None:
            return Claim(headless.name, HEADLESS)
        for tool in self._tools:
            if lower.startswith(tool.tokens):
                return Claim(tool.name, TOOL)
        if any(word in lower for word in _WORDS):  # most say none, and are done with sooner
            crawling = _CRAWLING.search(lower)
            if crawling is not None:
                return Claim(crawling[0][:WORD_CHARACTERS], DECLARED)
        if not lower.startswith(_BROWSERS):
            return Claim("", TOOL)  # it may call itself anything, which is nobody's business
        return A_PERSON


def _by_token(known: Iterable[Crawler]) -> list[tuple[str, Crawler]]:
    return [(token, one) for one in known for token in one.tokens]


def _first(known: Iterable[tuple[str, Crawler]], lower: str) -> Crawler | None:
    """Return the first whose token is in the text."""
    for token, one in known:
        if token in lower:
            return one
    return None
