"""The parts and roles of a host, in the reader's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from watchducks.console.languages import Language, mark

# Part, as /readyz has it -> its name, and what it means to a site's owner when it does not work.
_PARTS: Final = {
    "started": (mark("This console"), ""),
    "registry": (
        mark("Registry of sites"),
        mark("While it is away, sites are served as they are; changes wait."),
    ),
    "logs": (
        mark("Log store"),
        mark("While it is away, requests are kept on disk and counted later."),
    ),
    "edges": (
        mark("Processes for traffic"),
        mark("While one is being replaced, the others carry its visitors."),
    ),
}
# What "started" is called where a host is told of, and not the console that one looks at.
_STARTED: Final = mark("Start")
_ROLES: Final = {
    "proxy": mark("Proxy"),
    "nameserver": mark("Name server"),
    "console": mark("Console"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a host, and whether it works. :ivar explained: what it means if not; or ""."""

    title: str
    works: bool
    explained: str


def parts_of_the_service(language: Language, checks: Mapping[str, bool]) -> list[Part]:
    """Return what everybody may know of."""
    return [
        Part(
            language.gettext(title), checks[name], language.gettext(explained) if explained else ""
        )
        for name, (title, explained) in _PARTS.items()
        if name in checks
    ]


def parts_of_a_host(language: Language, checks: Mapping[str, bool]) -> list[Part]:
    """Return all parts of a host; one of a later version keeps the name that it has there."""
    titles = {name: title for name, (title, _) in _PARTS.items()} | {"started": _STARTED}
    return [
        Part(language.gettext(titles[name]) if name in titles else name, works, "")
        for name, works in checks.items()
    ]


def role_names(language: Language, roles: tuple[str, ...]) -> str:
    """Return a host's roles as words."""
    return ", ".join(language.gettext(_ROLES[role]) if role in _ROLES else role for role in roles)
