"""Sites: what an owner registers, and what is derived from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, get_args

from watchducks.model.origins import Origin
from watchducks.model.signing import UNSIGNED, Signing
from watchducks.model.zones import APEX, DEFAULT_CONTENTS, ZoneContents

OriginTls = Literal["verify", "pinned", "off"]
ORIGIN_TLS: Final[tuple[OriginTls, ...]] = get_args(OriginTls)


class SiteState(StrEnum):
    """How far a site's cutover has come (docs/architecture.md, "Site states")."""

    REGISTERED = "registered"
    DELEGATED = "delegated"
    CERTIFIED = "certified"
    ACTIVE = "active"
    FAILOVER = "failover"
    MOVED = "moved"


class Visibility(StrEnum):
    """Who may see a site's figures, and that it is there."""

    PUBLIC = "public"
    # Whoever has its link; it is in no list.
    UNLISTED = "unlisted"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class SiteChoices:
    """How an owner wants his site's traffic to be carried, and what shall be known of it.

    :ivar origin_tls: how an https origin proves to be the right one. ``verify``: by a certificate
        for the site's domain, signed by somebody whom the platform trusts; ``pinned``: by the key
        of its certificate, whoever signed it; ``off``: not at all, which protects only against
        those who listen.
    :ivar origin_pin: the SHA-256 of that certificate's SubjectPublicKeyInfo, 64 lower-case
        hexadecimal digits; empty unless ``pinned``.
    :ivar redirect_to_https: http visitors are sent to https.
    :ivar hsts_seconds: how long browsers shall use nothing but https (RFC 6797); 0: not told.
    :ivar keep_networks: of visitors' addresses the network (/24, /48) is kept; otherwise nothing.
    :ivar query_parameters: the parameters of queries that are kept, by their names, with a space
        between them; "": none.
    :ivar honour_gpc: visitors whose browser asks not to be tracked (GPC, DNT) are counted without
        an id, so that nobody can tell which of their requests belong together.
    :ivar ranked: the site stands in rankings.
    """

    origin_tls: OriginTls = "verify"
    origin_pin: str = ""
    redirect_to_https: bool = False
    hsts_seconds: int = 0
    keep_networks: bool = False
    query_parameters: str = ""
    honour_gpc: bool = False
    ranked: bool = True

    @classmethod
    def read(
        cls,
        origin_tls: object,
        origin_pin: object,
        redirect_to_https: object,
        hsts_seconds: object,
        keep_networks: object,
        query_parameters: object,
        honour_gpc: object,
        ranked: object,
    ) -> SiteChoices:
        """Return choices as a store kept them; all sites that chose nothing share one object.

        :raises ValueError: these cannot have been stored by us.
        """
        if (
            origin_tls not in ORIGIN_TLS
            or not isinstance(origin_pin, str)
            or not isinstance(redirect_to_https, bool)
            or not isinstance(hsts_seconds, int)
            or not isinstance(keep_networks, bool)
            or not isinstance(query_parameters, str)
            or not isinstance(honour_gpc, bool)
            or not isinstance(ranked, bool)
        ):
            raise ValueError("these are no choices of a site")
        choices = cls(
            origin_tls,
            origin_pin,
            redirect_to_https,
            hsts_seconds,
            keep_networks,
            query_parameters,
            honour_gpc,
            ranked,
        )
        return DEFAULT_CHOICES if choices == DEFAULT_CHOICES else choices


DEFAULT_CHOICES: Final = SiteChoices()


@dataclass(frozen=True, slots=True)
class Registration:
    """A request to register a site, every field already validated and normalised.

    :ivar zone: the zone to answer for, the domain itself or one around it; empty: the usual one
        (:func:`watchducks.model.names.zone_of`).
    :ivar language: what its owner reads, a code of the console's; empty: not known.
    """

    name: str
    domain: str
    origin: Origin
    email: str
    cohort: str
    zone: str = ""
    choices: SiteChoices = DEFAULT_CHOICES
    language: str = ""

    @property
    def contents(self) -> ZoneContents:
        """What the new zone holds: the usual hosts, and the domain if it is none of them."""
        if self.zone in ("", self.domain) or self.domain == f"www.{self.zone}":
            return DEFAULT_CONTENTS
        host = self.domain.removesuffix(f".{self.zone}")
        return ZoneContents((*DEFAULT_CONTENTS.proxied, host))


@dataclass(frozen=True, slots=True)
class Site:
    """A registered site, as the registry holds it.

    :ivar id: a positive integer that is never used again; rows of traffic carry it.
    :ivar name: what people call it; unique without regard to case, part of URLs.
    :ivar domain: the domain as registered, A-labels.
    :ivar zone: the zone we answer for; unique but for contenders.
    :ivar cohort: the group it is ranked in.
    :ivar revision: the registry's revision in which this row last changed.
    :ivar created: POSIX seconds.
    :ivar contents: what its zone holds beside the records that we make.
    :ivar signing: its zone's DNSSEC, as it was when this row last changed.
    :ivar visibility: who may see it. Answers of the registry have it; what follows the
        registry's revision does not need it, and its sites look public.
    :ivar share: the secret of an unlisted site's link; empty: it has none.
    :ivar drill_until: until then, POSIX seconds, DNS answers with the origin, because the owner
        tries a failover out; 0: he does not.
    :ivar suspended: whoever runs the service has DNS answer with the origin, for the time being.
    :ivar contender: another site holds the zone, or did when this one was registered; the registry
        tells nobody of a contender but those who ask for it by name.
    """

    id: int
    name: str
    domain: str
    zone: str
    origin: Origin
    email: str
    cohort: str
    state: SiteState
    revision: int
    created: int
    choices: SiteChoices = DEFAULT_CHOICES
    contents: ZoneContents = DEFAULT_CONTENTS
    signing: Signing = UNSIGNED
    contender: bool = False
    visibility: Visibility = Visibility.PUBLIC
    share: str = field(default="", repr=False)
    drill_until: int = 0
    suspended: bool = False

    @property
    def hosts(self) -> tuple[str, ...]:
        """The host names that lead visitors to the proxy; at first the zone's apex and ``www``."""
        return tuple(
            self.zone if host == APEX else f"{host}.{self.zone}" for host in self.contents.proxied
        )
