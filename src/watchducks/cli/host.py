"""Commands about the host and its appliance: check, status, demo."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchducks import preflight, preflight_host
from watchducks import settings as settings_module
from watchducks.cli import api, held, local
from watchducks.cli.common import CommandError, Parents, lines
from watchducks.demo.command import DemoError, say
from watchducks.demo.command import run as run_demo
from watchducks.settings import Settings

if TYPE_CHECKING:
    from watchducks.cli.common import Commands


def add(commands: Commands, parents: Parents) -> None:
    check = commands.add_parser(
        "check",
        parents=[parents.configured],
        help="tell what is wrong with the configuration, or with this host for it",
    )
    check.set_defaults(at_once=_check)
    status = commands.add_parser(
        "status",
        parents=[parents.remote],
        help="tell what the appliance is doing, and whether it can do all it should",
        description="Tell what the appliance on this host is doing: each of its instances, what of"
        " it works, and what it counts. With --url: whether the console there is ready.",
    )
    status.set_defaults(run=_status)
    demo = commands.add_parser("demo", help="run everything on loopback, with a demo site")
    demo.add_argument("--dir", type=Path, default=Path("var"), help="where it keeps its files")
    demo.set_defaults(run=_demo)


def _check(options: argparse.Namespace) -> int:
    settings = settings_module.find(options.config)
    problems = preflight.problems(settings) or _cluster_problems(settings)
    for problem in problems:
        sys.stderr.write(f"watchducks: {problem}\n")
    if problems:
        return 1
    for hint in preflight_host.hints(settings):
        say(f"To look at: {hint}.")
    say(f"The configuration is right: node {settings.node.name}, {', '.join(settings.node.roles)}.")
    return 0


def _cluster_problems(settings: Settings) -> list[str]:
    if not settings.logs.cluster:
        return []
    # Imports a database driver, which most hosts have no use for.
    from watchducks.stores.clickhouse_check import cluster_problems  # noqa: PLC0415

    return cluster_problems(settings.logs.url, settings.logs.cluster)


async def _status(_reactor: Any, options: argparse.Namespace) -> int:
    """Ask the instances on this host; with --url, or if there are none, the console."""
    if options.url is None:
        settings = settings_module.find(options.config)
        told = [_told(path) for path in local.control_files(settings.node.data_dir)]
        if told:
            _add_files(told, settings.node.data_dir / "certificates")
            say(json.dumps(told) if options.json else "\n\n".join(map(_instance, told)))
            return 0 if any(_is_well(one) for one in told) else 1
    code, body = await api.ask("GET", f"{api.console_of(options)}/readyz", options)
    say(json.dumps(body) if options.json else lines(body))
    return 0 if code == 200 else 1


def _told(path: Path) -> dict[str, Any]:
    """Return what an instance says of itself, or why it says nothing."""
    try:
        return local.ask(path)
    except PermissionError:
        raise CommandError(f"{path}: only root and the appliance's own user may ask") from None
    except OSError as error:
        return {"instance": path.parent.name, "error": f"does not answer: {error}"}


def _add_files(told: list[dict[str, Any]], directory: Path) -> None:
    """Add the certificates of this host to what its proxies tell: all use the same."""
    proxies = [one for one in told if "proxy" in one.get("roles", ())]
    if proxies:
        found = held.certificates(directory)
        for one in proxies:
            one.setdefault("certificates", {})["files"] = found


def _is_well(told: dict[str, Any]) -> bool:
    return bool(told.get("checks")) and all(told["checks"].values())


def _instance(told: dict[str, Any]) -> str:
    """Return what an instance says of itself as people read it."""
    parts = ("checks", "measures", "certificates")
    shown = {key: value for key, value in told.items() if key not in parts}
    process = told.get("process", {})
    shown["process"] = [f"{count} {what}" for what, count in process.items()]
    shown["doors"] = [f"{kind} {port}" for kind, port in told.get("doors", {}).items()]
    checks = {name: "yes" if works else "NO" for name, works in told.get("checks", {}).items()}
    measures = {name: _number(value) for name, value in told.get("measures", {}).items()}
    kept = held.in_lines(told.get("certificates", {}))
    return "\n".join(map(lines, filter(None, (shown, checks, kept, measures))))


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.3f}"


async def _demo(reactor: Any, options: argparse.Namespace) -> int:
    try:
        return await run_demo(reactor, options.dir.absolute())
    except DemoError as error:
        raise CommandError(str(error)) from error
