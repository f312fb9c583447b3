"""Commands about the host and its appliance: check, token, status, demo."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchducks import preflight
from watchducks import settings as settings_module
from watchducks.cli import api
from watchducks.cli.common import CommandError, Parents, lines
from watchducks.demo.command import DemoError, say
from watchducks.demo.command import run as run_demo

if TYPE_CHECKING:
    from watchducks.cli.common import Commands


def add(commands: Commands, parents: Parents) -> None:
    check = commands.add_parser(
        "check", parents=[parents.configured], help="tell whether the configuration is right"
    )
    check.set_defaults(at_once=_check)
    token = commands.add_parser(
        "token", parents=[parents.configured], help="make a new admin token, and print it once"
    )
    token.set_defaults(run=_token)
    status = commands.add_parser(
        "status", parents=[parents.remote], help="ask the appliance whether it is ready"
    )
    status.set_defaults(run=_status)
    demo = commands.add_parser("demo", help="run everything on loopback, with a demo site")
    demo.add_argument("--dir", type=Path, default=Path("var"), help="where it keeps its files")
    demo.set_defaults(run=_demo)


def _check(options: argparse.Namespace) -> int:
    settings = settings_module.find(options.config)
    problems = preflight.problems(settings)
    for problem in problems:
        sys.stderr.write(f"watchducks: {problem}\n")
    if problems:
        return 1
    say(f"The configuration is right: node {settings.node.name}, {', '.join(settings.node.roles)}.")
    return 0


async def _token(reactor: Any, options: argparse.Namespace) -> int:
    from watchducks.appliance.sites import open_registry  # noqa: PLC0415 -- only this command needs it

    async with open_registry(settings_module.find(options.config), reactor) as registry:
        say(await registry.create_admin_token())
    return 0


async def _status(_reactor: Any, options: argparse.Namespace) -> int:
    code, body = await api.ask("GET", f"{api.console_of(options)}/readyz", options)
    say(json.dumps(body) if options.json else lines(body))
    return 0 if code == 200 else 1


async def _demo(reactor: Any, options: argparse.Namespace) -> int:
    try:
        return await run_demo(reactor, options.dir.absolute())
    except DemoError as error:
        raise CommandError(str(error)) from error
