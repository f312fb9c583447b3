"""A site's way as its owner sees it: what is done, what is next, and what it waits for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from watchducks.model.certificates import note_of
from watchducks.model.cutover import (
    CHALLENGE_LABEL,
    UNCLAIMED,
    CutoverRules,
    Finding,
    SiteCutover,
    awaits_certificate,
)
from watchducks.model.scans import Note
from watchducks.model.sites import SiteState


class StepState(StrEnum):
    """How far a step is."""

    DONE = "done"
    NOW = "now"
    LATER = "later"


class StepName(StrEnum):
    """The steps: the state that each leads to, and the order of a certificate."""

    REGISTERED = SiteState.REGISTERED.value
    DELEGATED = SiteState.DELEGATED.value
    ORDERED = "ordered"
    CERTIFIED = SiteState.CERTIFIED.value
    ACTIVE = SiteState.ACTIVE.value


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a site's way.

    :ivar name: what it is called.
    :ivar time: when it was done, POSIX seconds; None: it is not.
    :ivar note: why it is not done yet, and what to do.
    """

    name: StepName
    state: StepState
    time: int | None = None
    note: Note | None = None


def steps(found: SiteCutover, rules: CutoverRules) -> list[Step]:
    """Return the way of a site, in its order; without ACME a certificate is no step of it, unless
    there is one, nor is a delegation of a site that became active without one.
    """
    site, progress = found.site, found.progress
    times = {
        StepName.DELEGATED: progress.delegated,
        StepName.ORDERED: progress.certificate.ordered,
        StepName.CERTIFIED: progress.certified,
        StepName.ACTIVE: progress.active,
    }
    if not (rules.acme or progress.certified):
        del times[StepName.CERTIFIED]
    if not rules.acme:
        del times[StepName.ORDERED]
    undelegated = not (rules.require_delegation or progress.delegated)
    if undelegated and (rules.acme or site.state is SiteState.ACTIVE):
        del times[StepName.DELEGATED]
    way = list(times)
    reached = _reached(found, rules, way)
    way_there = [Step(StepName.REGISTERED, StepState.DONE, site.created)]
    for place, name in enumerate(way):
        if place <= reached:
            way_there.append(Step(name, StepState.DONE, times[name] or None))
        elif place == reached + 1:
            way_there.append(Step(name, StepState.NOW, None, _note(name, found)))
        else:
            way_there.append(Step(name, StepState.LATER))
    return way_there


def _reached(found: SiteCutover, rules: CutoverRules, way: list[StepName]) -> int:
    """Return the place of the last step that is done; -1: none is."""
    state = found.site.state
    # An order of before the site moved away and came back is none of this time.
    ordered = found.progress.certificate.ordered > found.progress.moved
    if StepName.ORDERED in way and ordered and awaits_certificate(state, rules):
        return way.index(StepName.ORDERED)
    if state in UNCLAIMED:
        return -1
    step = StepName(state.value)
    return way.index(step) if step in way else 0


_CERTIFICATE: Final = Note(
    "certificate",
    "The certificate is being obtained; until then visitors go straight to your server.",
)
_TAKEN: Final = Note(
    "taken",
    "Another registration of this domain has our name servers. If it is not yours, but the domain"
    " is, have the domain's name servers changed to others first; then its registration ends.",
)
_REQUEST: Final = Note("request", "Everything is ready. The first visitor completes it.")
_FINDINGS: Final = {
    Finding.NONE: Note(
        "waiting",
        "Enter our name servers at your registrar. We look after a minute, and again and again.",
    ),
    Finding.NOBODY: Note(
        "nobody",
        "The domain has no name servers at all. Is it registered, and entered without a mistake?",
    ),
    Finding.SIGNED: Note(
        "ds-present",
        "The domain has our name servers, but a DS record of its former provider's keys: whoever"
        " checks signatures (DNSSEC) gets no answer. Have the DS record removed where you bought"
        " the domain; once its TTL has passed, usually after a day, everybody reaches it.",
    ),
    Finding.UNKNOWN: Note(
        "unknown",
        "The registry of the domain could not be asked. We try again; you need not do anything.",
    ),
}


def _note(name: StepName, found: SiteCutover) -> Note:
    site, progress = found.site, found.progress
    if found.taken:
        return _TAKEN
    if progress.finding is Finding.SIGNED:
        return _FINDINGS[Finding.SIGNED]
    if name in (StepName.ORDERED, StepName.CERTIFIED):
        return note_of(progress.certificate) or _CERTIFICATE
    if name is StepName.ACTIVE:
        return _REQUEST
    servers = ", ".join(progress.servers)
    if site.contender or progress.finding is Finding.UNPROVEN:
        return Note(
            "unproven",
            "Somebody else has registered this domain, too. Show that it is yours: before you"
            " change the name servers, add the TXT record {host} with the value {value} where the"
            " domain's DNS is now.",
            {"host": f"{CHALLENGE_LABEL}.{site.zone}", "value": found.proof},
        )
    if progress.finding is Finding.ELSEWHERE:
        return Note(
            "elsewhere",
            "The domain's name servers are {servers}. Replace them by ours at your registrar; its"
            " change may take hours to arrive.",
            {"servers": servers},
        )
    if progress.finding is Finding.PARTLY:
        return Note(
            "partly",
            "The domain's name servers are {servers}. Remove those that are not ours at your"
            " registrar: visitors would be led to the old place by them.",
            {"servers": servers},
        )
    return _FINDINGS.get(progress.finding, _FINDINGS[Finding.NONE])
