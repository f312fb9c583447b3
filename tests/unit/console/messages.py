"""Every text of the console that people read, collected from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from jinja2.ext import babel_extract

import watchducks

PACKAGE = Path(watchducks.__file__).parent
# Where problems that the console shows come from.
PROBLEM_SOURCES = ("model", "registry", "analytics", "health", "lookups", "certificates", "console")
_KEYWORDS = ["_", "gettext", "ngettext"]
# Names of parameters whose values are words of ours (languages._WORDS), and those words.
WORDS = (
    "name",
    "cohort",
    "cloud metadata",
    "loopback",
    "unspecified",
    "private",
    "reserved",
    "link-local",
    "multicast",
)


def all_messages() -> set[str | tuple[str, str]]:
    """Return every text to translate; a pair is a singular and its plural."""
    return {*WORDS, *_of_templates(), *_of_sources()}


def _of_templates() -> Iterator[str | tuple[str, str]]:
    options = {"trim_blocks": "true", "lstrip_blocks": "true"}
    for path in sorted((PACKAGE / "console" / "templates").glob("*.html")):
        with path.open("rb") as file:
            for _, _, message, _ in babel_extract(file, _KEYWORDS, [], options):
                texts = message if isinstance(message, tuple) else (message,)
                found = [text for text in texts if text is not None]
                if len(found) == 2:
                    yield found[0], found[1]
                elif found:
                    yield found[0]


def _of_sources() -> Iterator[str]:
    for package in PROBLEM_SOURCES:
        for path in sorted((PACKAGE / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    yield from _of_call(node, node.func.id)


def _of_call(node: ast.Call, function: str) -> Iterator[str]:
    places = {"mark": 0, "Problem": 1, "Note": 1, "ProbeFailed": 0}
    place = places.get(function)
    if place is not None and len(node.args) > place:
        text = node.args[place]
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            yield text.value
