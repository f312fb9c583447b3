"""`watchducks certificate`: what the sysadmin does about certificates by hand."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from watchducks import settings as settings_module
from watchducks.cli.common import CommandError, Parents
from watchducks.demo.command import say
from watchducks.model.accounts import COMMAND_LINE

if TYPE_CHECKING:
    from watchducks.cli.common import Commands


def add(commands: Commands, parents: Parents) -> None:
    certificate = commands.add_parser("certificate", help="look after our certificates")
    actions = certificate.add_subparsers(dest="action", required=True, metavar="ACTION")
    rollover = actions.add_parser(
        "rollover",
        parents=[parents.configured],
        help="give our accounts at certificate authorities other keys",
    )
    rollover.set_defaults(run=_rollover)


async def _rollover(reactor: Any, options: argparse.Namespace) -> int:
    from watchducks.appliance.certificates import open_vault  # noqa: PLC0415 -- only for this

    settings = settings_module.find(options.config)
    if not settings.certificates.directory:
        raise CommandError("certificates.directory names no authority, so there is no account")
    async with open_vault(settings, reactor) as vault:
        await vault.wish_account_keys(by=COMMAND_LINE)
    say("Our accounts get other keys as soon as no order is under way; the trail says when.")
    return 0
