"""A letter of each kind, with the facts that its kind has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.registry.examples import example_site
from watchducks.mail.composing import Sender
from watchducks.model.letters import Letter, LetterKind, PostedLetter, site_letter

NOW = 1_800_000_000
SENDER = Sender(
    "us@ducks.example", "https://console.example", ["ns1.ducks.example", "ns2.ducks.example"]
)
SITE = replace(example_site("xn--bj0bj06e.example"), name="오리 <연못>")
FACTS: dict[LetterKind, dict[str, Any]] = {
    LetterKind.SIGN_IN: {"sealed": "a-secret-word"},
    LetterKind.FAREWELL: {"forgotten": NOW + 7 * 86_400},
    LetterKind.CERTIFICATE: {
        "expires": NOW + 5 * 86_400,
        "trouble": "caa",
        "host": "www.ducks.example",
        "words": '<b>issue ";"</b>',
    },
    LetterKind.FAILOVER_BEGAN: {"began": NOW, "sites": [SITE.domain, "ducks.example"]},
    LetterKind.FAILOVER_ENDED: {"began": NOW, "ended": NOW + 600, "sites": ["ducks.example"]},
    LetterKind.SPIKE: {"requests": 41_200, "usual": 3_100, "hour": NOW},
    LetterKind.DROP: {"requests": 12, "usual": 3_100, "hour": NOW},
    LetterKind.ERRORS: {"requests": 3_000, "count": 700, "share": 0.2333, "hour": NOW},
    LetterKind.REPORT: {
        "first": NOW,
        "last": NOW + 6 * 86_400,
        "requests": 1_234_567,
        "requests_change": 0.124,
        "visitors": 8_123.4,
        "visitors_change": None,
        "success": 0.9987,
        "p95": 412.0,
        "days": ["1/15", "1/16", "1/17", "1/18", "1/19", "1/20", "1/21"],
        "charts": {"requests": [120.0, 340.0, None, 80.0, 0.0, 200.0, 220.0]},
        "paths": [["/", 5123, ""], ["/<script>", 99, ""]],
    },
}


def posted(kind: LetterKind, language: str = "") -> PostedLetter:
    """Return a letter as the registry has it."""
    letter: Letter = replace(site_letter(kind, SITE, FACTS.get(kind)), language=language)
    return PostedLetter(7, letter, NOW, NOW)
