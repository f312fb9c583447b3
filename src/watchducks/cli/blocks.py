"""`watchducks block`: who and what may not be registered."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from watchducks import settings as settings_module
from watchducks.cli.common import CommandError, Parents
from watchducks.demo.command import say
from watchducks.model.accounts import COMMAND_LINE
from watchducks.model.problems import InvalidFields

if TYPE_CHECKING:
    from watchducks.cli.common import Commands
    from watchducks.registry.blocklist import Blocklist


def add(commands: Commands, parents: Parents) -> None:
    block = commands.add_parser("block", help="say who and what may not be registered")
    actions = block.add_subparsers(dest="action", required=True, metavar="ACTION")
    adding = actions.add_parser(
        "add",
        parents=[parents.configured],
        help="refuse registrations",
        description="Refuse registrations. Sites that are there go on, unless --suspend is given;"
        " they are listed.",
    )
    adding.add_argument(
        "what",
        help="a domain with all names below it (example.com), an e-mail address or all of a domain"
        " (@example.com), or a network that people or servers are in (203.0.113.0/24)",
    )
    adding.add_argument("reason", help="for those who run the service; nobody else sees it")
    adding.add_argument(
        "--suspend",
        action="store_true",
        help="have DNS answer with the own servers of sites that are there, until they are resumed",
    )
    removing = actions.add_parser("remove", parents=[parents.configured], help="take a block back")
    removing.add_argument("number", type=int, help="as the list has it")
    removing.add_argument("--resume", action="store_true", help="let its suspended sites go on")
    actions.add_parser("list", parents=[parents.configured], help="list the blocks")
    for parser in actions.choices.values():
        parser.set_defaults(run=_block)


async def _block(reactor: Any, options: argparse.Namespace) -> int:
    from watchducks.appliance.mail import open_blocklist  # noqa: PLC0415 -- only for this command

    async with open_blocklist(settings_module.find(options.config), reactor) as blocklist:
        match options.action:
            case "add":
                await _add(blocklist, options)
            case "remove":
                await _remove(blocklist, options)
            case _:
                for one in await blocklist.blocks():
                    say(f"{one.number}\t{one.value}\t{one.reason}")
    return 0


async def _add(blocklist: Blocklist, options: argparse.Namespace) -> None:
    try:
        made = await blocklist.add(options.what, options.reason, by=COMMAND_LINE)
    except InvalidFields as error:
        raise CommandError(str(error)) from None
    say(f"{made.number}\t{made.value} may not be registered.")
    if options.suspend:
        await blocklist.suspend(made, suspended=True, by=COMMAND_LINE)
    for site in await blocklist.sites_of(made):
        say(f"{site.name} {'is suspended' if site.suspended else 'goes on'}.")


async def _remove(blocklist: Blocklist, options: argparse.Namespace) -> None:
    found = await blocklist.remove(options.number, by=COMMAND_LINE)
    if found is None:
        raise CommandError(f"there is no block {options.number}")
    say(f"{found.value} may be registered again.")
    if options.resume:
        await blocklist.suspend(found, suspended=False, by=COMMAND_LINE)
    for site in await blocklist.sites_of(found):
        say(f"{site.name} {'is suspended' if site.suspended else 'goes on'}.")
