"""Happenings: what was noted of sites, in the reader's language. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watchducks.analytics.results import Annotation, Failover, SiteAnnotation
from watchducks.console.languages import Language, mark

# On a page of one site: what one reads below a chart.
MOST_SHOWN: Final = 10

# Kind -> what it says, and whether it is bad news.
_KINDS: Final[Mapping[str, tuple[str, bool]]] = {
    "error-burst": (mark("Many server errors: {detail} of all answers"), True),
    "failover": (mark("Visitors were led straight to the origins"), True),
    "certificate": (mark("A certificate was issued"), False),
    "certificate-failed": (mark("A certificate could not be made: {detail}"), True),
}
# Why a certificate could not be made (model.certificates.Trouble) -> in a few words.
_TROUBLES: Final[Mapping[str, str]] = {
    "dns": mark("its names could not be looked up"),
    "caa": mark("a CAA record forbids it"),
    "unreached": mark("our servers were not reached"),
    "wrong-answer": mark("somebody else answered"),
    "refused-name": mark("the authority issues none for a name"),
    "rate-limited": mark("the authority has issued enough for now"),
    "away": mark("the authority does not answer"),
    "other": mark("the authority refused"),
}
# State that a site came to -> likewise.
_STATES: Final[Mapping[str, tuple[str, bool]]] = {
    "registered": (mark("The name servers are not ours any more"), True),
    "delegated": (mark("The domain has our name servers"), False),
    "certified": (mark("The domain has our name servers"), False),
    "active": (mark("The domain has our name servers"), False),
    "moved": (mark("The domain has left our name servers"), True),
}


@dataclass(frozen=True, slots=True)
class Happening:
    """:ivar time: POSIX seconds. :ivar site: its name; "": it happened to all."""

    time: int
    text: str
    bad: bool
    site: str = ""


def of_site(
    language: Language, noted: Sequence[Annotation], failovers: Sequence[Failover] = ()
) -> list[Happening]:
    """Return the last of what happened to a site, the latest first."""
    everything = [*noted, *(Annotation(each.began, "failover", "") for each in failovers)]
    latest = sorted(everything, key=lambda each: -each.time)
    return [_told(language, each) for each in latest[:MOST_SHOWN]]


def of_sites(
    language: Language,
    noted: Sequence[SiteAnnotation],
    failovers: Sequence[Failover],
    names: Mapping[int, str],
) -> list[Happening]:
    """Return the last of what happened to several sites, the latest first.

    :param names: site id -> name.
    """
    found = [_told(language, each, names.get(each.site_id, "")) for each in noted] + [
        _told(language, Annotation(each.began, "failover", "")) for each in failovers
    ]
    return sorted(found, key=lambda each: -each.time)[:MOST_SHOWN]


def _told(language: Language, noted: Annotation | SiteAnnotation, site: str = "") -> Happening:
    if noted.kind == "name-servers":
        words, bad = _STATES.get(noted.detail, (noted.detail, False))
    else:
        # What a later version notes is shown as it is.
        words, bad = _KINDS.get(noted.kind, ("", False))
    detail = noted.detail
    if noted.kind == "certificate-failed" and detail in _TROUBLES:
        detail = language.gettext(_TROUBLES[detail])
    text = language.gettext(words).format(detail=detail) if words else ""
    return Happening(noted.time, text or f"{noted.kind} {noted.detail}".strip(), bad, site)
