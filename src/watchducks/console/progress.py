"""A site's way to its first visitor, as the API and the pages show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from watchducks.console.figures import rfc3339
from watchducks.console.languages import Language
from watchducks.model.cutover import CutoverRules, SiteCutover, Step, steps
from watchducks.model.problems import Problem
from watchducks.model.scans import Note


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
            for step in way(found, rules)
        ],
        "moved": rfc3339(progress.moved) if progress.moved else None,
        "looked": rfc3339(progress.looked) if progress.looked else None,
        "next_look": rfc3339(progress.due),
    }


def way(found: SiteCutover, rules: CutoverRules) -> list[Step]:
    """Return the steps of a site."""
    return steps(found.site, found.progress, rules, found.proof)


def told(note: Note, language: Language) -> str:
    """Return what a step waits for, in the reader's language."""
    return language.problem(Problem(note.code, note.template, **note.parameters))


def _reason(note: Note | None, language: Language) -> Mapping[str, str] | None:
    return None if note is None else {"code": note.code, "message": told(note, language)}
