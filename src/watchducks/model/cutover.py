"""A site's way from its registration to its first visitor: the rules. Pure; time comes in.

====================  ==============================================================  ==========
from                  when                                                            to
====================  ==============================================================  ==========
registered            a look finds its zone delegated to us and nobody else, and      delegated
                      its registration is the only one, or proven
registered            a request is seen, where no delegation is required              active
delegated             a proxy holds a certificate for it                              certified
registered            the same, where no delegation is required                       certified
delegated             a request is seen, where there is no ACME                       active
certified             a request is seen                                               active
delegated, certified, :data:`LOSSES` looks in a row find that none of its name        moved
active                servers is ours
moved                 as from registered                                              delegated
====================  ==============================================================  ==========

While the parent has a DS record of keys that are not ours, a request makes no site active: whoever
validates gets no answer. A look that gets no answer changes nothing but the time of the next one.
Failover is no state that is kept: it is what every site is in while no proxy is healthy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from enum import Enum, StrEnum
from typing import Any, Final

from watchducks.model import certificates
from watchducks.model.certificates import CertificateProgress
from watchducks.model.changes import Changes
from watchducks.model.scans import is_foreign
from watchducks.model.sites import Site, SiteState

# The first look: a registrar that is quick, with an owner who is, takes about a minute.
FIRST_LOOK_SECONDS: Final = 60
# Then each time twice as long: after an hour six looks were made, and who changes his name servers
# a week later is seen within this. An owner who does not want to wait has a button.
MAX_LOOK_SECONDS: Final = 4 * 3600
# Whether a delegated zone still is: four times a day, 100,000 sites make five looks a second.
WATCH_SECONDS: Final = 6 * 3600
# Whether a DS record that keeps visitors away is gone: it is remembered for hours in any case.
SIGNED_SECONDS: Final = 3600
# One of the parent's servers may be behind, and an answer may be forged: so a loss is believed when
# it was seen this often, with this much time between.
LOSSES: Final = 2
CONFIRM_SECONDS: Final = 300
# The owner's click: the parent's servers are not ours to be asked in a loop.
CLICK_SECONDS: Final = 10
# Who did not change his name servers within four weeks will not, or begins anew.
FORGET_SECONDS: Final = 28 * 86_400
# Its owner is told a week before, and has that week whenever he was told.
NOTICE_SECONDS: Final = 7 * 86_400
# Foreign name servers that an owner is shown; more tell him no more.
MAX_SHOWN_SERVERS: Final = 5

# Long enough to see one's own server in every resolver, short enough for a coffee.
DRILL_SECONDS: Final = 300

# The host name in a zone whose TXT record shows whose registration it is.
CHALLENGE_LABEL: Final = "_watchducks-challenge"

# Version of the packed form; what a later version wrote is not guessed at.
_FORMAT: Final = 1
# No more doublings are needed to reach MAX_LOOK_SECONDS, and no number grows without bound.
_MAX_TRIES: Final = 10

# The states without a proven claim now: no such site may take anything from another one.
UNCLAIMED: Final = frozenset({SiteState.REGISTERED, SiteState.MOVED})


class Finding(StrEnum):
    """What the last look found."""

    NONE = "none"  # there was none yet
    DELEGATED = "delegated"
    ELSEWHERE = "elsewhere"
    PARTLY = "partly"
    NOBODY = "nobody"
    UNPROVEN = "unproven"
    SIGNED = "signed"  # delegated, below a DS record of somebody else's keys
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a zone from outside.

    :ivar servers: its name servers as its parent names them, in lower case without the final dot;
        None: the parent could not be asked.
    :ivar proven: the zone held this registration's challenge.
    :ivar ds: the DS records at its parent, as zone files write their data.
    """

    servers: tuple[str, ...] | None
    proven: bool = False
    ds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How a site came where it is. All times are POSIX seconds, 0: not yet.

    :ivar delegated: when it last became so; likewise the three that follow.
    :ivar proven: when its registration showed that it is the owner's.
    :ivar looked: when it was last looked.
    :ivar due: when to look next.
    :ivar requested: when a request was seen that did not make it active; 0: none.
    :ivar tries: looks in a row that did not find what they were made for.
    :ivar finding: of the last look.
    :ivar servers: the name servers that it found, a few of them.
    :ivar warned: when the owner was told that the site will be forgotten.
    :ivar certificate: what became of its certificate.
    """

    delegated: int = 0
    certified: int = 0
    active: int = 0
    moved: int = 0
    proven: int = 0
    looked: int = 0
    requested: int = 0
    due: int = 0
    tries: int = 0
    finding: Finding = Finding.NONE
    servers: tuple[str, ...] = ()
    warned: int = 0
    certificate: CertificateProgress = CertificateProgress()

    def pack(self) -> bytes:
        """Return the form in which stores keep it."""
        return json.dumps({"format": _FORMAT, **asdict(self)}).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> Progress:
        """Return what :meth:`pack` was given.

        :raises ValueError: this was not packed by us, or by a later version.
        """
        try:
            found: dict[str, Any] = json.loads(packed)
            written = found.pop("format")
            if written != _FORMAT:
                raise ValueError(f"the progress has format {written}, and we know {_FORMAT}")
            found["finding"] = Finding(found["finding"])
            found["servers"] = tuple(found["servers"])
            found["certificate"] = CertificateProgress.unpack(found.get("certificate", {}))
            return cls(**found)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("this is no progress of a site") from error


@dataclass(frozen=True, slots=True)
class SiteCutover:
    """How far a site is.

    :ivar proof: its :func:`challenge`.
    :ivar rivals: how many others have registered the same zone.
    :ivar taken: one of them has shown that it is his.
    """

    site: Site
    progress: Progress
    proof: str
    rivals: int
    taken: bool = False


@dataclass(frozen=True, slots=True)
class CutoverRules:
    """What the settings make of the states.

    :ivar require_delegation: a site is served only when its zone was seen to be delegated to us.
    :ivar acme: certificates are ordered, and visitors are not led to the proxies without one.
    :ivar pages: authorities look for pages at the proxies (``http-01``), so that DNS has to lead
        there before there is a certificate; https is passed through meanwhile.
    """

    require_delegation: bool = False
    acme: bool = False
    pages: bool = False

    def carries(self, state: SiteState) -> bool:
        """Whether the proxies carry a site's traffic. One that has moved is still carried for those
        whose resolvers remember an old answer."""
        return state is not SiteState.REGISTERED or not self.require_delegation

    def claims(self, state: SiteState) -> bool:
        """Whether a site's zone is its registrant's, as far as we have seen."""
        return state not in UNCLAIMED or not self.require_delegation

    def leads_to_origin(self, state: SiteState) -> bool:
        """Whether DNS answers for proxied names with the origin, whatever the proxies' health."""
        uncertified = state in (SiteState.REGISTERED, SiteState.DELEGATED)
        if self.acme and not self.pages and uncertified:
            return True
        return self.require_delegation and state in UNCLAIMED

    def carried(self, changes: Changes) -> Changes:
        """Return the changes for those who have to do with carried sites only."""
        sites = tuple(site for site in changes.sites if self.carries(site.state))
        others = [site.zone for site in changes.sites if not self.carries(site.state)]
        return replace(changes, sites=sites, removed=(*changes.removed, *others))


# --- transitions ----------------------------------------------------------------------------------


def begun(created: int) -> Progress:
    """Return the progress of a site registered at ``created``."""
    return Progress(due=created + FIRST_LOOK_SECONDS)


def after_look(
    state: SiteState,
    before: Progress,
    look: Look,
    *,
    own: Collection[str],
    rivals: bool,
    rules: CutoverRules,
    now: int,
    own_ds: Collection[str] = (),
) -> tuple[SiteState, Progress]:
    """Return state and progress after a look.

    :param own: the names of our name servers, as in :attr:`Look.servers`.
    :param rivals: others have registered the same zone.
    :param own_ds: the DS of our keys of the zone, as in :attr:`Look.ds`.
    """
    proven = before.proven or (now if look.proven else 0)
    finding = _finding(look, own)
    if finding is Finding.DELEGATED and rivals and not proven:
        finding = Finding.UNPROVEN
    signed = finding is Finding.DELEGATED and is_foreign(look.ds, own_ds)
    after = replace(
        before,
        proven=proven,
        looked=now,
        finding=Finding.SIGNED if signed else finding,
        servers=before.servers if look.servers is None else look.servers[:MAX_SHOWN_SERVERS],
    )
    watched = now + (SIGNED_SECONDS if signed else WATCH_SECONDS)
    if state in UNCLAIMED:
        if finding is Finding.DELEGATED:
            return SiteState.DELEGATED, replace(
                after,
                delegated=now,
                certified=0,
                active=0,
                requested=0,
                tries=0,
                due=watched,
                warned=0,
            )
        tries = min(before.tries + 1, _MAX_TRIES)
        wait = min(FIRST_LOOK_SECONDS << tries, MAX_LOOK_SECONDS)
        return state, replace(after, tries=tries, due=now + wait)
    # What became active without a delegation has none to lose.
    may_lose = rules.require_delegation or before.delegated
    if finding in (Finding.ELSEWHERE, Finding.NOBODY) and may_lose:
        if before.tries + 1 >= LOSSES:
            return SiteState.MOVED, replace(
                after, moved=now, proven=0, tries=0, due=now + FIRST_LOOK_SECONDS
            )
        return state, replace(after, tries=before.tries + 1, due=now + CONFIRM_SECONDS)
    if finding is Finding.DELEGATED and not before.delegated:
        after = replace(after, delegated=now)
    # Not to know is neither a loss nor the end of one that was seen once.
    tries = before.tries if finding is Finding.UNKNOWN else 0
    after = replace(after, tries=tries, due=now + CONFIRM_SECONDS if tries else watched)
    if after.requested and after.finding is Finding.DELEGATED:
        return after_request(state, after, rules, now)
    return state, after


def _finding(look: Look, own: Collection[str]) -> Finding:
    if look.servers is None:
        return Finding.UNKNOWN
    if not look.servers:
        return Finding.NOBODY
    ours = [server in own for server in look.servers]
    if all(ours):
        return Finding.DELEGATED
    return Finding.PARTLY if any(ours) else Finding.ELSEWHERE


def awaits_request(state: SiteState, rules: CutoverRules) -> bool:
    """Return whether a visitor's request would make a site active."""
    return after_request(state, Progress(), rules, 0)[0] is not state


def awaits_certificate(state: SiteState, rules: CutoverRules) -> bool:
    """Return whether a certificate would take a site further."""
    undelegated = state is SiteState.REGISTERED and rules.acme and not rules.require_delegation
    return state is SiteState.DELEGATED or undelegated


def after_certificate(
    state: SiteState, before: Progress, rules: CutoverRules, now: int
) -> tuple[SiteState, Progress]:
    """Return state and progress when a proxy holds a certificate for the site."""
    if not awaits_certificate(state, rules):
        return state, before
    return SiteState.CERTIFIED, replace(before, certified=now)


def after_request(
    state: SiteState, before: Progress, rules: CutoverRules, now: int
) -> tuple[SiteState, Progress]:
    """Return state and progress when a visitor's request for the site was seen."""
    if state is SiteState.CERTIFIED or (
        (state is SiteState.DELEGATED and not rules.acme)
        or (state is SiteState.REGISTERED and not (rules.require_delegation or rules.acme))
    ):
        if before.finding is Finding.SIGNED:
            # Reported once only, so it is remembered until the DS record is gone.
            return state, replace(before, requested=now)
        return SiteState.ACTIVE, replace(before, active=now, requested=0)
    return state, before


def after_click(before: Progress, now: int) -> Progress | None:
    """Return the progress when the owner asks for a look at once; None: there was one just now.

    His click says that he changed something, so the waits begin at the shortest again, and a
    certificate that failed is tried as soon as may be; a loss that was seen once stays seen.
    """
    if now - before.looked < CLICK_SECONDS:
        return None
    return replace(
        before,
        due=now,
        tries=min(before.tries, LOSSES - 1),
        certificate=certificates.after_click(before.certificate, now),
    )


class Farewell(Enum):
    """What is due of a site that nobody delegates."""

    NOTHING = 0
    WARN = 1
    FORGET = 2


def forgotten_at(site: Site, progress: Progress) -> int:
    """Return when a site will be forgotten if it stays without a delegation, POSIX seconds."""
    undelegated = max(site.created, progress.moved) + FORGET_SECONDS
    return max(undelegated, progress.warned + NOTICE_SECONDS) if progress.warned else undelegated


def farewell(site: Site, progress: Progress, rules: CutoverRules, now: int) -> Farewell:
    """Return what is due of a site now.

    Nothing, where no delegation is required; nor while the last look got no answer: when our own
    network is away for weeks, no site is forgotten for it.
    """
    unseen = progress.finding in (Finding.NONE, Finding.UNKNOWN)
    if not rules.require_delegation or site.state not in UNCLAIMED or unseen:
        return Farewell.NOTHING
    left = forgotten_at(site, progress) - now
    if progress.warned:
        return Farewell.FORGET if left <= 0 else Farewell.NOTHING
    return Farewell.WARN if left <= NOTICE_SECONDS else Farewell.NOTHING


def challenge(lineage: str, site: Site) -> str:
    """Return the TXT value that tells this registration from others of the same zone.

    It is no secret: whoever can publish it under the zone's name controls the zone. It names the
    registry too, so that what somebody published for one of another place proves nothing here.
    """
    text = f"{lineage} {site.id} {site.zone}"
    return "watchducks=" + hashlib.sha256(text.encode()).hexdigest()[:32]
