"""How a visitor came: by a search engine, a link, a campaign, by himself. Pure rules.

What somebody paid for comes before everything, then what the link says of itself (``utm_medium``),
then the site that the browser names, then ``utm_source``.
"""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from watchducks.journal.records import QUERY_MARK

DIRECT: Final = "direct"
INTERNAL: Final = "internal"
PAID: Final = "paid"
REFERRAL: Final = "referral"

# Hosts of referrers that are remembered; a visitor can invent them.
KEPT_HOSTS: Final = 4096
# Longer names of campaigns are no names.
CAMPAIGN_CHARACTERS: Final = 100
# Parameters of a query that are looked at: no link has more, and each costs a microsecond.
MAX_PARAMETERS: Final = 100

_FILE: Final = Path(__file__).with_name("channels.toml")
# What advertising networks add to the links that somebody paid for.
_CLICK_IDS: Final = frozenset(
    {
        *("gclid", "gbraid", "wbraid", "dclid", "msclkid", "ttclid", "twclid", "li_fat_id"),
        *("epik", "rdt_cid", "sccid", "yclid", "n_ad", "n_click_id"),
    }
)
_CAMPAIGN: Final = re.compile(
    "(?:^|[&;])(?:utm_(?:source|medium|campaign)|" + "|".join(sorted(_CLICK_IDS)) + ")="
)
_PAID_MEDIUM: Final = re.compile(r"cpc|ppc|cpm|cpv|cpa|retargeting|display|banner|.*paid.*")
_MEDIUM_CHANNELS: Final = {
    "email": "mail",
    "e-mail": "mail",
    "mail": "mail",
    "newsletter": "mail",
    "social": "social",
    "social-media": "social",
    "social_media": "social",
    "sm": "social",
    "organic": "search",
    "ai": "ai",
    "referral": REFERRAL,
}
# Second-level labels below which two-letter domains register names: co.kr, com.br, or.jp.
_SECOND_LEVEL: Final = frozenset({"ac", "co", "com", "edu", "go", "gov", "ne", "net", "or", "org"})

# scheme "//" [userinfo "@"] host [":" port], then path, query or fragment (RFC 3986, 3).
_AUTHORITY = re.compile(
    r"(?:https?|android-app)://(?:[^/?#@]*@)?(\[[0-9a-f:.]{2,45}\]|[^/?#@:\[\]\s]{1,255})"
    r"(?::\d{0,5})?(?:[/?#]|$)",
    re.IGNORECASE,
)


class Campaign(NamedTuple):
    """What a link says of where it stood: the utm parameters, and whether it was paid for."""

    source: str = ""
    medium: str = ""
    name: str = ""
    paid: bool = False


NO_CAMPAIGN: Final = Campaign()


def referrer_host(referrer: str) -> str:
    """Return the host of a Referer header in lower case, or "" if there is none to be seen."""
    match = _AUTHORITY.match(referrer)
    return match[1].lower() if match else ""


def campaign_of(target: str) -> Campaign:
    """Return the campaign that the query of a request's target names."""
    query = target.partition(QUERY_MARK)[2]
    if not query or _CAMPAIGN.search(query) is None:
        return NO_CAMPAIGN
    given = dict(parameters(query))
    medium = given.get("utm_medium", "").strip().lower()[:CAMPAIGN_CHARACTERS]
    return Campaign(
        given.get("utm_source", "").strip().lower()[:CAMPAIGN_CHARACTERS],
        medium,
        given.get("utm_campaign", "").strip()[:CAMPAIGN_CHARACTERS],
        not _CLICK_IDS.isdisjoint(given) or _PAID_MEDIUM.fullmatch(medium) is not None,
    )


def parameters(query: str) -> list[tuple[str, str]]:
    """Return names and values of a query's first :data:`MAX_PARAMETERS` parameters."""
    pieces = query.split("&", MAX_PARAMETERS)[:MAX_PARAMETERS]
    return parse_qsl("&".join(pieces), errors="replace")


class Channels:
    """What kind of site a host is. For one thread at a time."""

    def __init__(self, file: Path = _FILE) -> None:
        self._labels: dict[str, str] = {}
        self._hosts: dict[str, str] = {}
        for channel, names in tomllib.loads(file.read_text("utf-8")).items():
            self._labels.update(dict.fromkeys(names["labels"], channel))
            self._hosts.update(dict.fromkeys(names["hosts"], channel))
        self.of_host = lru_cache(maxsize=KEPT_HOSTS)(self._of_host)

    def of(self, referrer: str, own_host: str, campaign: Campaign) -> str:
        """Return the channel of a request.

        :param referrer: the referrer's host, "" for none.
        :param own_host: the host that was asked.
        """
        if campaign.paid:
            return PAID
        said = _MEDIUM_CHANNELS.get(campaign.medium)
        if said is not None:
            return said
        if referrer:
            return INTERNAL if _same_site(referrer, own_host) else self.of_host(referrer)
        if campaign.source:
            return self.of_host(campaign.source)
        return DIRECT

    def _of_host(self, host: str) -> str:
        """Return the channel of a host, or of a campaign's source: ``google``, ``chatgpt.com``."""
        labels = host.split(".")
        for start in range(len(labels)):
            known = self._hosts.get(".".join(labels[start:]))
            if known is not None:
                return known
        return self._labels.get(_registered(labels)[0], REFERRAL)


def _same_site(one: str, other: str) -> bool:
    if one == other:
        return True
    labels = one.split(".")
    # Two addresses of one ending have nothing in common.
    return not labels[-1].isdigit() and _registered(labels) == _registered(other.split("."))


def _registered(labels: list[str]) -> list[str]:
    """Return the labels of what somebody registered, near enough: the public suffix list would take
    6 MB to tell a few more suffixes."""
    suffix = 1
    if len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL:
        suffix = 2
    return labels[-suffix - 1 :]
