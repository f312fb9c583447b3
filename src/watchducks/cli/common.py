"""What the commands share: the options that many of them take, and how they fail and print."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    # Generic in typeshed, but not when it runs.
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


class CommandError(Exception):
    """The command could not be done; the text is the line for the person who typed it."""


@dataclass(frozen=True, slots=True)
class Parents:
    """Parsers to give as ``parents=[...]``.

    :ivar configured: for commands that read the configuration (``config``).
    :ivar remote: for those that ask the API (``config``, ``url``, ``token``, ``json``).
    """

    configured: argparse.ArgumentParser
    remote: argparse.ArgumentParser


def make_parents() -> Parents:
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help="default: /etc/watchducks/watchducks.toml, or the embedded defaults",
    )
    remote = argparse.ArgumentParser(add_help=False, parents=[configured])
    remote.add_argument("--url", help="the console's address; default: console.url of the settings")
    remote.add_argument(
        "--token", help="an owner's or the admin's token; default: $WATCHDUCKS_TOKEN"
    )
    remote.add_argument("--json", action="store_true", help="print the API's answer as it is")
    return Parents(configured, remote)


def lines(body: Any) -> str:
    """Return a JSON object as aligned lines."""
    if not isinstance(body, dict):
        return json.dumps(body, ensure_ascii=False)
    width = max((len(key) for key in body), default=0)
    return "\n".join(f"{key:{width}}  {_text(value)}".rstrip() for key, value in body.items())


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    # As they are typed, and as JSON has them.
    return json.dumps(value) if isinstance(value, bool) else str(value)
