"""etc/watchducks.toml names every key there is, with its default, and explains it."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from watchducks import settings
from watchducks.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "etc" / "watchducks.toml"
TEXT = EXAMPLE.read_text()
DOCUMENT = tomllib.loads(TEXT)

# What only the administrator knows: the example has made-up values.
PLACEHOLDERS = {
    "node.name",
    "proxy.addresses",
    "nameserver.names",
    "nameserver.addresses",
}


def keys(section: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Return each key's name and the value it has where it is not given."""
    for item in dataclasses.fields(section):
        value, name = getattr(section, item.name), f"{where}{item.name}"
        if dataclasses.is_dataclass(value):
            yield from keys(value, f"{name}.")
        else:
            yield name, value


def written(name: str) -> Any:
    found: Any = DOCUMENT
    for part in name.split("."):
        found = found[part]
    return found


def defaults() -> Settings:
    """Return the settings of a file that has only what has to be there."""
    return settings.parse(
        {
            "proxy": {"addresses": written("proxy.addresses")},
            "nameserver": {"names": written("nameserver.names")},
        }
    )


DEFAULTS = dict(keys(defaults()))
EXAMPLES = dict(keys(settings.parse(DOCUMENT)))


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_each_key_is_there_with_its_default(name: str) -> None:
    written(name)
    if name not in PLACEHOLDERS:
        assert EXAMPLES[name] == DEFAULTS[name]


def test_each_key_is_explained() -> None:
    """By a comment behind it or above it."""
    lines = TEXT.splitlines()
    bare = [
        line.partition(" ")[0]
        for number, line in enumerate(lines)
        if " = " in line.partition("#")[0]
        and "#" not in line
        and not lines[number - 1].startswith("#")
    ]
    assert bare == []
