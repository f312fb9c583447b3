"""`watchducks admin`, `tokens` and `mail`: who may do everything, tokens of an account, letters."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any, Final

from watchducks import settings as settings_module
from watchducks.cli import api
from watchducks.cli.common import CommandError, Parents, lines
from watchducks.demo.command import say
from watchducks.model.accounts import COMMAND_LINE, Scope
from watchducks.model.letters import LetterState
from watchducks.model.names import normalise_email
from watchducks.model.problems import Problem

if TYPE_CHECKING:
    from watchducks.cli.common import Commands

# Letters shown of each state: what a person reads.
SHOWN_LETTERS: Final = 20


def add(commands: Commands, parents: Parents) -> None:
    admin = commands.add_parser("admin", help="say whose accounts may do everything")
    actions = admin.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, text in (
        ("add", "let the account of an address do everything; it signs in by a mailed link"),
        ("remove", "let it do so no more, and sign it out"),
    ):
        parser = actions.add_parser(action, parents=[parents.configured], help=text)
        parser.add_argument("email")
    actions.add_parser("list", parents=[parents.configured], help="list these addresses")
    for parser in actions.choices.values():
        parser.set_defaults(run=_admin)

    tokens = commands.add_parser("tokens", help="make, list and revoke tokens of your account")
    actions = tokens.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", parents=[parents.remote], help="list them")
    make = actions.add_parser("make", parents=[parents.remote], help="make one, and print it once")
    make.add_argument("label", help="what will use it")
    make.add_argument("--scope", choices=[*Scope], default=Scope.READ, help="default: read")
    make.add_argument("--site", default="", help="the one site that it is good for; default: all")
    revoke = actions.add_parser("revoke", parents=[parents.remote], help="revoke one")
    revoke.add_argument("number", help="as the list has it")
    for parser in actions.choices.values():
        parser.set_defaults(run=_tokens)

    mail = commands.add_parser(
        "mail", parents=[parents.configured], help="tell which letters wait, or were given up"
    )
    mail.set_defaults(run=_mail)


async def _admin(reactor: Any, options: argparse.Namespace) -> int:
    from watchducks.appliance.mail import open_accounts  # noqa: PLC0415 -- only for this command

    async with open_accounts(settings_module.find(options.config), reactor) as book:
        if options.action == "list":
            for address in await book.admins():
                say(address)
            return 0
        try:
            email = normalise_email(options.email)
        except Problem as problem:
            raise CommandError(str(problem)) from None
        if options.action == "add":
            if not await book.add_admin(email, by=COMMAND_LINE):
                raise CommandError(f"{email} is an admin already")
            say(f"{email} is an admin, and signs in with a link of the console.")
        else:
            if not await book.remove_admin(email, by=COMMAND_LINE):
                raise CommandError(f"{email} is no admin")
            say(f"{email} is no admin any more.")
    return 0


async def _tokens(_reactor: Any, options: argparse.Namespace) -> int:
    url = f"{api.console_of(options)}/api/v1/tokens"
    if options.action == "list":
        body = await api.done("GET", url, options)
        keys = ("number", "label", "scope", "site", "used")
        text = "\n".join("\t".join(str(one[key]) for key in keys) for one in body["tokens"])
    elif options.action == "make":
        wanted = {"label": options.label, "scope": options.scope, "site": options.site}
        body = await api.done("POST", url, options, wanted)
        text = lines(body)
    else:
        body = await api.done("DELETE", f"{url}/{api.segment(options.number)}", options)
        text = f"Token {options.number} is revoked."
    if text:
        say(json.dumps(body, ensure_ascii=False) if options.json else text)
    return 0


async def _mail(reactor: Any, options: argparse.Namespace) -> int:
    from watchducks.appliance.mail import open_mailbag  # noqa: PLC0415 -- only for this command

    async with open_mailbag(settings_module.find(options.config), reactor) as bag:
        say(lines({state.value: count for state, count in (await bag.counted()).items()}))
        for state in (LetterState.WAITING, LetterState.GIVEN_UP):
            for one in await bag.latest(state, SHOWN_LETTERS):
                said = one.reason or "not tried yet"
                say(f"{state.value}\t{one.number}\t{one.letter.kind.value}\t{said}")
    return 0
