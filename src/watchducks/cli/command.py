"""The command line: the groups of commands together, and the exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from watchducks import __version__
from watchducks.background import StartupError
from watchducks.cli import accounts, backup, blocks, certificates, host, logs, sites, swap
from watchducks.cli.common import CommandError, make_parents
from watchducks.settings import SettingsError

GROUPS = (host, swap, backup, sites, certificates, accounts, blocks, logs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="watchducks", description="Look after a WatchDucks appliance and its sites."
    )
    parser.add_argument("--version", action="version", version=f"watchducks {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parents = make_parents()
    for group in GROUPS:
        group.add(commands, parents)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; leaves with the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if "at_once" in options:
            sys.exit(options.at_once(options))
        task.react(lambda reactor: Deferred.fromCoroutine(_run(reactor, options)))
    except CommandError as error:
        sys.exit(f"watchducks: {error}")
    except SettingsError as error:
        sys.exit("\n".join(f"watchducks: {problem}" for problem in error.problems))


async def _run(reactor: Any, options: argparse.Namespace) -> None:
    try:
        code = await options.run(reactor, options)
    except SettingsError as error:
        for problem in error.problems:
            sys.stderr.write(f"watchducks: {problem}\n")
        code = 1
    except (CommandError, StartupError) as error:
        sys.stderr.write(f"watchducks: {error}\n")
        code = 1
    if code:
        raise SystemExit(code)
