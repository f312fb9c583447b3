"""`watchducks admin`, `token` and `mail`: who may do everything, tokens, letters."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any, Final

from watchducks import settings as settings_module
from watchducks.cli import api
from watchducks.cli.common import CommandError, Parents, lines
from watchducks.demo.command import say
from watchducks.model.accounts import COMMAND_LINE, LINK_SECONDS, Scope
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
        ("add", "let the account of an address do everything, and print a link to sign in with"),
        ("link", "print another link; it works once, and for 15 minutes"),
        ("remove", "let the account do so no more, and sign it out"),
    ):
        parser = actions.add_parser(action, parents=[parents.configured], help=text)
        parser.add_argument("email")
    actions.add_parser("list", parents=[parents.configured], help="list these addresses")
    for parser in actions.choices.values():
        parser.set_defaults(run=_admin)

    token = commands.add_parser(
        "token",
        parents=[parents.remote],
        help="make, list and revoke tokens",
        description="Without an ACTION: make a new admin token, from the registry of this host, and"
        " print it once. With one, as the account whose token is shown (--token): make LABEL, list,"
        " or revoke NUMBER.",
    )
    token.add_argument("action", nargs="?", choices=("make", "list", "revoke"), metavar="ACTION")
    token.add_argument("what", nargs="?", default="", metavar="LABEL|NUMBER")
    token.add_argument("--scope", choices=[*Scope], help="of the one to make; default: read")
    token.add_argument("--site", help="the one site that it is good for; default: all")
    token.set_defaults(run=_token)

    mail = commands.add_parser(
        "mail", parents=[parents.configured], help="tell which letters wait, or were given up"
    )
    mail.set_defaults(run=_mail)


async def _admin(reactor: Any, options: argparse.Namespace) -> int:
    from watchducks.appliance.mail import open_accounts  # noqa: PLC0415 -- only for this command

    settings = settings_module.find(options.config)
    async with open_accounts(settings, reactor) as book:
        if options.action == "list":
            for address in await book.admins():
                say(f"{address}\tsecurity.admins" if address in book.named else address)
            return 0
        try:
            email = normalise_email(options.email)
        except Problem as problem:
            raise CommandError(str(problem)) from None
        if options.action == "remove":
            if email in book.named:
                raise CommandError(f"security.admins names {email}: take it out there, and restart")
            if not await book.remove_admin(email, by=COMMAND_LINE):
                raise CommandError(f"{email} is no admin")
            say(f"{email} is no admin any more.")
            return 0
        if options.action == "add" and not (
            email not in book.named and await book.add_admin(email, by=COMMAND_LINE)
        ):
            raise CommandError(f"{email} is an admin already; `watchducks admin link` signs it in")
        secret = await book.make_link(email, by=COMMAND_LINE)
        if secret is None:
            raise CommandError(f"{email} is no admin; `watchducks admin add` makes it one")
        say(f"{email} may do everything, and signs in at the console by a mailed link.")
        page = f"{settings.console.url.rstrip('/')}/sign-in/{secret}"
        say(f"At once, within {LINK_SECONDS // 60} minutes: {page}")
    return 0


async def _token(reactor: Any, options: argparse.Namespace) -> int:
    wants = {"make": "LABEL, what will use it", "revoke": "NUMBER, as the list has it"}
    if bool(options.what) != (options.action in wants):
        text = wants.get(options.action or "")
        raise CommandError(f"name its {text}" if text else f"what is {options.what} for?")
    if options.action != "make" and (options.scope or options.site):
        raise CommandError("--scope and --site are for `watchducks token make LABEL`")
    if options.action is None:
        return await _admin_token(reactor, options)
    url = f"{api.console_of(options)}/api/v1/tokens"
    if options.action == "list":
        body = await api.done("GET", url, options)
        keys = ("number", "label", "scope", "site", "used")
        text = "\n".join("\t".join(str(one[key]) for key in keys) for one in body["tokens"])
    elif options.action == "make":
        scope, site = options.scope or Scope.READ.value, options.site or ""
        wanted = {"label": options.what, "scope": scope, "site": site}
        body = await api.done("POST", url, options, wanted)
        text = lines(body)
    else:
        body = await api.done("DELETE", f"{url}/{api.segment(options.what)}", options)
        text = f"Token {options.what} is revoked."
    if text:
        say(json.dumps(body, ensure_ascii=False) if options.json else text)
    return 0


async def _admin_token(reactor: Any, options: argparse.Namespace) -> int:
    from watchducks.appliance.sites import open_registry  # noqa: PLC0415 -- only for this command

    if options.url:
        raise CommandError("an admin token is made on the host of the registry, not at a URL")
    async with open_registry(settings_module.find(options.config), reactor) as registry:
        token = await registry.create_admin_token(by=COMMAND_LINE)
    say(json.dumps({"token": token}) if options.json else token)
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
