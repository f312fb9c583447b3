"""A site's way to its first visitor, as the API and the pages show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from watchducks.console.figures import rfc3339
from watchducks.console.languages import Language, mark
from watchducks.model.certificates import CertificateProgress, note_of
from watchducks.model.cutover import CutoverRules, SiteCutover
from watchducks.model.problems import Problem
from watchducks.model.scans import Note
from watchducks.model.steps import StepName, StepState, steps

TITLES: Final[Mapping[StepName, str]] = {
    StepName.REGISTERED: mark("The site is registered"),
    StepName.DELEGATED: mark("The domain has our name servers"),
    StepName.ORDERED: mark("A certificate is ordered"),
    StepName.CERTIFIED: mark("There is a certificate"),
    StepName.ACTIVE: mark("The first visitor was here"),
}

TOO_SOON: Final = Problem("too-soon", "We have looked just now; try again in a moment.")


@dataclass(frozen=True, slots=True)
class ShownStep:
    """A step in the reader's language; ``time`` in POSIX seconds."""

    title: str
    state: str
    time: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Way:
    """What the pages show of a site's way.

    :ivar fingerprint: says whether two of them are the same, also to the script.
    :ivar complete: there is nothing left to wait for.
    :ivar looked: when its delegation was last looked at, POSIX seconds; 0: not yet.
    :ivar expires: when the certificate ends, and ``retry``: when the next attempt to have a new one
        is made, because of ``trouble``; 0 and "": not.
    """

    steps: Sequence[ShownStep]
    fingerprint: str
    complete: bool
    looked: int
    expires: int
    retry: int
    trouble: str


def progress_document(
    found: SiteCutover, rules: CutoverRules, language: Language
) -> Mapping[str, Any]:
    """Return each step with its time, or with what it waits for and what to do.

    ``state`` of a step is done, now or later. ``looked`` and ``next_look`` are of its delegation.
    """
    progress = found.progress
    return {
        "steps": [
            {
                "name": step.name.value,
                "state": step.state.value,
                "time": None if step.time is None else rfc3339(step.time),
                "reason": _reason(step.note, language),
            }
            for step in steps(found, rules)
        ],
        "moved": rfc3339(progress.moved) if progress.moved else None,
        "looked": rfc3339(progress.looked) if progress.looked else None,
        "next_look": rfc3339(progress.due),
        "certificate": _certificate(progress.certificate, language),
    }


def _certificate(found: CertificateProgress, language: Language) -> Mapping[str, Any]:
    """Return what became of a site's certificate; ``reason``: why the last attempt failed."""
    times = {
        "ordered": found.ordered,
        "issued": found.issued,
        "expires": found.expires,
        "failed": found.failed,
        "next_attempt": found.retry,
    }
    shown = {name: rfc3339(time) if time else None for name, time in times.items()}
    return {**shown, "reason": _reason(note_of(found), language)}


def shown_way(found: SiteCutover, rules: CutoverRules, language: Language) -> Way:
    """Return a site's way for the pages."""
    way, certificate = steps(found, rules), found.progress.certificate
    trouble = note_of(certificate)
    return Way(
        [
            ShownStep(
                language.gettext(TITLES[step.name]),
                step.state.value,
                step.time,
                "" if step.note is None else told(step.note, language),
            )
            for step in way
        ],
        ",".join(
            step.state.value if step.note is None else f"{step.state.value}:{step.note.code}"
            for step in way
        ),
        complete=all(step.state is StepState.DONE for step in way),
        looked=found.progress.looked,
        expires=certificate.expires,
        retry=certificate.retry,
        trouble="" if trouble is None else told(trouble, language),
    )


def told(note: Note, language: Language) -> str:
    """Return what a step waits for, in the reader's language."""
    return language.problem(Problem(note.code, note.template, **note.parameters))


def _reason(note: Note | None, language: Language) -> Mapping[str, str] | None:
    return None if note is None else {"code": note.code, "message": told(note, language)}
