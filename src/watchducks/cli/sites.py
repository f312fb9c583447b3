"""`watchducks site`: add, list, show, change and remove sites."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from watchducks.cli import api, zones
from watchducks.cli.common import Parents, lines
from watchducks.demo.command import say

if TYPE_CHECKING:
    from watchducks.cli.common import Commands


def add(commands: Commands, parents: Parents) -> None:
    site = commands.add_parser("site", help="add, list, show, change and remove sites")
    actions = site.add_subparsers(dest="action", required=True, metavar="ACTION")
    adding = actions.add_parser("add", parents=[parents.remote], help="register a site")
    for name, text in (
        ("name", "what people call it"),
        ("domain", "its domain, such as www.example.com"),
        ("origin", "its server's address, such as 203.0.113.7 or https://203.0.113.7:8443"),
        ("email", "its owner's address"),
    ):
        adding.add_argument(name, help=text)
    adding.add_argument("--cohort", default="default", help="the group it is ranked in")
    listing = actions.add_parser("list", parents=[parents.remote], help="list the sites")
    listing.add_argument("--cohort", help="only this cohort")
    change = actions.add_parser(
        "set",
        parents=[parents.remote],
        help="change a site",
        description="Change a site. KEY is one of: origin, email, cohort; origin_tls (verify: the"
        " origin's certificate is for the site's domain and publicly trusted; pinned: it has the"
        " key of origin_pin, the SHA-256 of its SubjectPublicKeyInfo in hexadecimal; off: any);"
        " redirect_to_https (true, false); hsts_seconds (0: no Strict-Transport-Security);"
        " keep_networks (of visitors: /24, /48), honour_gpc (GPC and DNT visitors without id),"
        " ranked (true, false); query_parameters (names to keep, 'page q'); dnssec"
        " (on, off: sign the zone); drill (on: DNS answers with the origin for five minutes; off).",
    )
    change.add_argument("name")
    change.add_argument("values", nargs="+", type=_assignment, metavar="KEY=VALUE")
    for action, text in (
        ("show", "show a site"),
        ("remove", "remove a site"),
        ("suspend", "have DNS answer with a site's own server; takes an admin's token"),
        ("resume", "let a suspended site go on; takes an admin's token"),
    ):
        actions.add_parser(action, parents=[parents.remote], help=text).add_argument("name")
    for parser in actions.choices.values():
        parser.set_defaults(run=_site)
    zones.add(actions, parents)


def _assignment(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


async def _site(_reactor: Any, options: argparse.Namespace) -> int:
    sites = f"{api.console_of(options)}/api/v1/sites"
    site = f"{sites}/{api.segment(getattr(options, 'name', ''))}"
    if options.action == "add":
        fields = ("name", "domain", "origin", "email", "cohort")
        body = await api.done(
            "POST", sites, options, {name: getattr(options, name) for name in fields}
        )
    elif options.action == "list":
        body = await api.all_sites(sites, options)
    elif options.action == "set":
        body = await api.done("PATCH", site, options, dict(options.values))
    elif options.action in ("suspend", "resume"):
        body = await api.done("POST", f"{site}/{options.action}", options)
    elif options.action == "show":
        body = await api.done("GET", site, options)
    else:
        body = await api.done("DELETE", site, options)
    text = json.dumps(body, ensure_ascii=False) if options.json else _printed(options, body)
    if text:  # of no sites there is nothing to say
        say(text)
    return 0


def _printed(options: argparse.Namespace, body: Any) -> str:
    """Return the API's answer as people read it."""
    if options.action == "list":
        keys = ("name", "domain", "origin", "cohort", "state")
        return "\n".join("\t".join(str(site[key]) for key in keys) for site in body["sites"])
    return lines(body) if body else f"{options.name} is removed."
