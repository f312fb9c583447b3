"""Whether a site's origin answers, as the API shows it."""

from __future__ import annotations

from typing import Any

from watchducks.console.figures import rfc3339
from watchducks.console.languages import Language
from watchducks.model.problems import Problem
from watchducks.model.scans import Note
from watchducks.model.verdicts import FailoverReport, OriginReport


def said(note: Note, language: Language) -> str:
    """Return a note as a sentence of this language."""
    return language.problem(Problem(note.code, note.template, **note.parameters))


def origin_document(report: OriginReport | None, language: Language) -> dict[str, Any] | None:
    """Return what the last probe of a site's origin found; None: it was not asked yet.

    ``reason`` says why it does not answer, and is null while it does.
    """
    if report is None:
        return None
    return {
        "answers": report.answers,
        "since": rfc3339(int(report.since)),
        "asked": rfc3339(int(report.asked)),
        "reason": None if report.failure is None else said(report.failure, language),
        "failover": None if report.failover is None else _failover(report.failover, language),
    }


def _failover(found: FailoverReport, language: Language) -> dict[str, Any]:
    """Return whether a failover would work today; ``reason``: why it would break."""
    return {
        "would_work": found.trouble is None,
        "checked": rfc3339(int(found.checked)),
        "reason": None if found.trouble is None else said(found.trouble, language),
    }
