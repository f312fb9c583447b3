"""The ``watchducks`` command: the sysadmin's and the owner's tool.

It goes through the JSON API, as any other client does, or, for what the API does not offer, through
the registry; never round them. Exit codes: 0 done, 1 not done (one line on stderr says why), 2 the
command itself was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import treq
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.web.client import ResponseFailed

from watchducks import __version__, preflight
from watchducks import settings as settings_module
from watchducks.background import StartupError
from watchducks.demo.command import DemoError, say
from watchducks.demo.command import run as run_demo
from watchducks.settings import Settings, SettingsError

# The console answers from memory or one query; longer than this, something is wrong with it.
API_SECONDS = 10.0
# What the API accepts of a zone file (watchducks.lookups.zonefile), in octets.
MAX_FILE_OCTETS = 512 * 1024


# What the commands about a zone's keys ask the API for; None: only to be shown.
_KEY_STEPS: Final[Mapping[str, str | None]] = {
    "dnssec": None,
    "roll-keys": "roll",
    "confirm-ds": "confirm",
}
# What an owner does in each phase of watchducks.model.signing.
_KEY_ADVICE: Final[Mapping[str, str]] = {
    "off": "The zone is not signed: watchducks site set NAME dnssec=on",
    "beginning": "The zone is signed. Its DS is shown, and can be given to the registrar, then.",
    "signed": "The registrar needs this DS, unless it is there already.",
    "publishing": "A new key is published. Its DS is shown then.",
    "replacing": "Replace the DS at the registrar by this one, then: watchducks site confirm-ds",
    "retiring": "The registrar has the new DS. The old key is kept until then.",
    "withdrawing": "The zone stays signed. Remove its DS at the registrar, then:"
    " watchducks site confirm-ds",
    "ending": "The registrar has no DS any more. The zone stays signed until then.",
}


class CommandError(Exception):
    """The command could not be done; the text is the line for the person who typed it."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="watchducks", description="Look after a WatchDucks appliance and its sites."
    )
    parser.add_argument("--version", action="version", version=f"watchducks {__version__}")
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

    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "check", parents=[configured], help="tell whether the configuration is right"
    )
    commands.add_parser(
        "token", parents=[configured], help="make a new admin token, and print it once"
    )
    commands.add_parser("status", parents=[remote], help="ask the appliance whether it is ready")
    demo = commands.add_parser("demo", help="run everything on loopback, with a demo site")
    demo.add_argument("--dir", type=Path, default=Path("var"), help="where it keeps its files")

    site = commands.add_parser("site", help="add, list, show, change and remove sites")
    actions = site.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", parents=[remote], help="register a site")
    for name, text in (
        ("name", "what people call it"),
        ("domain", "its domain, such as www.example.com"),
        ("origin", "its server's address, such as 203.0.113.7 or https://203.0.113.7:8443"),
        ("email", "its owner's address"),
    ):
        add.add_argument(name, help=text)
    add.add_argument("--cohort", default="default", help="the group it is ranked in")
    listing = actions.add_parser("list", parents=[remote], help="list the sites")
    listing.add_argument("--cohort", help="only this cohort")
    change = actions.add_parser(
        "set",
        parents=[remote],
        help="change a site",
        description="Change a site. KEY is one of: origin, email, cohort; origin_tls (verify: the"
        " origin's certificate is for the site's domain and publicly trusted; pinned: it has the"
        " key of origin_pin, the SHA-256 of its SubjectPublicKeyInfo in hexadecimal; off: any);"
        " redirect_to_https (true, false); hsts_seconds (0: no Strict-Transport-Security); dnssec"
        " (on, off: sign the zone).",
    )
    change.add_argument("name")
    change.add_argument("values", nargs="+", type=_assignment, metavar="KEY=VALUE")
    importing = actions.add_parser(
        "import-zone",
        parents=[remote],
        help="import a zone file",
        description="Import a zone file (BIND's format). Its records replace those of the same name"
        " and type; what is added (+), removed (-) and worth a look (!) is printed.",
    )
    importing.add_argument("name")
    importing.add_argument("file", type=Path, metavar="FILE", help="- reads standard input")
    importing.add_argument(
        "--replace", action="store_true", help="remove the records that the file does not have"
    )
    importing.add_argument(
        "--dry-run", action="store_true", help="only say what would change; keep nothing"
    )
    for action, text in (
        ("show", "show a site"),
        ("remove", "remove a site"),
        ("dnssec", "show how a site's zone is signed, and the DS for its registrar"),
        ("roll-keys", "begin to replace the key that signs a site's zone"),
        ("confirm-ds", "say that the registrar has the DS shown by dnssec, or none if none is"),
    ):
        actions.add_parser(action, parents=[remote], help=text).add_argument("name")
    return parser


def _assignment(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; leaves with the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "check":
            sys.exit(_check(options))
        task.react(lambda reactor: Deferred.fromCoroutine(_run(reactor, options)))
    except SettingsError as error:
        sys.exit("\n".join(f"watchducks: {problem}" for problem in error.problems))


async def _run(reactor: Any, options: argparse.Namespace) -> None:
    try:
        if options.command == "demo":
            code = await run_demo(reactor, options.dir.absolute())
        elif options.command == "token":
            code = await _token(reactor, settings_module.find(options.config))
        else:
            code = await _remote(options)
    except (CommandError, DemoError, SettingsError, StartupError) as error:
        sys.stderr.write(f"watchducks: {error}\n")
        code = 1
    if code:
        raise SystemExit(code)


def _check(options: argparse.Namespace) -> int:
    settings = settings_module.find(options.config)
    problems = preflight.problems(settings)
    for problem in problems:
        sys.stderr.write(f"watchducks: {problem}\n")
    if problems:
        return 1
    say(f"The configuration is right: node {settings.node.name}, {', '.join(settings.node.roles)}.")
    return 0


async def _token(reactor: Any, settings: Settings) -> int:
    from watchducks.appliance.sites import open_registry  # noqa: PLC0415 -- only this command needs it

    async with open_registry(settings, reactor) as registry:
        say(await registry.create_admin_token())
    return 0


# --- commands that ask the API ------------------------------------------------------------------


async def _remote(options: argparse.Namespace) -> int:
    url = (options.url or settings_module.find(options.config).console.url).rstrip("/")
    if options.command == "status":
        return await _status(f"{url}/readyz", options)
    sites = f"{url}/api/v1/sites"
    site = f"{sites}/{_segment(getattr(options, 'name', ''))}"
    if options.action == "import-zone":
        return await _import_zone(f"{site}/records/import", options)
    if options.action == "add":
        fields = ("name", "domain", "origin", "email", "cohort")
        body = await _done(
            "POST", sites, options, {name: getattr(options, name) for name in fields}
        )
    elif options.action == "list":
        body = await _all_sites(sites, options)
    elif options.action == "set":
        body = await _done("PATCH", site, options, dict(options.values))
    elif options.action in _KEY_STEPS:
        body = await _key_step(f"{site}/dnssec", options)
    elif options.action == "show":
        body = await _done("GET", site, options)
    else:
        body = await _done("DELETE", site, options)
    text = json.dumps(body, ensure_ascii=False) if options.json else _printed(options, body)
    if text:  # of no sites there is nothing to say
        say(text)
    return 0


def _printed(options: argparse.Namespace, body: Any) -> str:
    """Return the API's answer as people read it."""
    if options.action == "list":
        keys = ("name", "domain", "origin", "cohort", "state")
        return "\n".join("\t".join(str(site[key]) for key in keys) for site in body["sites"])
    if options.action in _KEY_STEPS:
        return _dnssec_lines(body)
    return _lines(body) if body else f"{options.name} is removed."


async def _status(url: str, options: argparse.Namespace) -> int:
    code, body = await _ask("GET", url, options)
    say(json.dumps(body) if options.json else _lines(body))
    return 0 if code == 200 else 1


async def _import_zone(url: str, options: argparse.Namespace) -> int:
    """Import a zone file and print what that changed, as a diff does."""
    wanted = {
        "zonefile": _zone_file(options.file),
        "replace": options.replace,
        "dry_run": options.dry_run,
    }
    body = await _done("POST", url, options, wanted)
    if options.json:
        say(json.dumps(body, ensure_ascii=False))
        return 0
    for sign, records in (("-", body["removed"]), ("+", body["added"])):
        for record in records:
            say(f"{sign} {record['name']}\t{record['ttl']}\t{record['type']}\t{record['value']}")
    for note in body["notes"]:
        say(f"! {note['record']}: {note['message']}")
    counts = f"{len(body['added'])} added, {len(body['removed'])} removed"
    say(f"{counts}, {len(body['notes'])} notes." + ("" if body["kept"] else " Nothing is kept."))
    return 0


def _zone_file(path: Path) -> str:
    """Return a zone file's text. Comments in old files are often in another encoding than UTF-8."""
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(MAX_FILE_OCTETS + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_OCTETS + 1)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_FILE_OCTETS:
        raise CommandError(f"{path} is larger than {MAX_FILE_OCTETS} bytes")
    return data.decode("utf-8", "replace")


async def _key_step(url: str, options: argparse.Namespace) -> Any:
    """Take the step of the zone's keys that was asked for, if any, and return how they are."""
    step = _KEY_STEPS[options.action]
    if step is None:
        return await _done("GET", url, options)
    return await _done("POST", url, options, {"step": step})


async def _ask(
    method: str, url: str, options: argparse.Namespace, body: object = None
) -> tuple[int, Any]:
    """Return the status and the decoded JSON of one API call."""
    headers: dict[bytes | str, bytes | str] = {"accept": "application/json"}
    token = options.token or os.environ.get("WATCHDUCKS_TOKEN")
    if token:
        headers["authorization"] = f"Bearer {token}"
    arguments: dict[str, Any] = {} if body is None else {"json": body}
    try:
        response = await treq.request(
            method, url, headers=headers, timeout=API_SECONDS, persistent=False, **arguments
        )
        text = await response.text("utf-8")  # as JSON is, which says no charset (RFC 8259)
    except (ConnectError, ResponseFailed, ValueError) as error:
        raise CommandError(f"{url} does not answer ({error}); is the appliance running?") from error
    try:
        return response.code, json.loads(text) if text.strip() else None
    except ValueError:
        raise CommandError(f"{url} is not a WatchDucks console ({response.code})") from None


async def _done(method: str, url: str, options: argparse.Namespace, body: object = None) -> Any:
    """Return the answer's body if the call succeeded.

    :raises CommandError: with what the problem document says (RFC 9457).
    """
    code, answer = await _ask(method, url, options, body)
    if code < 300:
        return answer
    problem = answer if isinstance(answer, dict) else {}
    fields = problem.get("errors")
    if isinstance(fields, dict):
        lines = [f"{field}: {error['message']}" for field, error in fields.items()]
        raise CommandError("; ".join(lines))
    raise CommandError(str(problem.get("detail") or problem.get("title") or f"status {code}"))


async def _all_sites(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Follow the pages of the list."""
    sites: list[Any] = []
    after: str | None = None
    while True:
        query = {"cohort": options.cohort, "after": after}
        given = {key: value for key, value in query.items() if value is not None}
        body = await _done("GET", f"{url}?{urlencode(given)}", options)
        sites.extend(body["sites"])
        after = body.get("next")
        if after is None:
            return {"sites": sites}


def _segment(name: str) -> str:
    return quote(name, safe="")


def _lines(body: Any) -> str:
    """Return a JSON object as aligned lines."""
    if not isinstance(body, dict):
        return json.dumps(body, ensure_ascii=False)
    width = max((len(key) for key in body), default=0)
    return "\n".join(f"{key:{width}}  {_text(value)}".rstrip() for key, value in body.items())


def _dnssec_lines(body: Any) -> str:
    """Return how a zone is signed, with what its owner does next."""
    shown = {key: body[key] for key in ("zone", "phase", "until", "ds") if body[key]}
    shown["keys"] = [key["key_tag"] for key in body["keys"]]
    advice = _KEY_ADVICE.get(body["phase"])
    return "\n".join(filter(None, (_lines(shown), advice)))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    # As they are typed, and as JSON has them.
    return json.dumps(value) if isinstance(value, bool) else str(value)
