"""Commands about a site's zone: its records from a file, and the keys that sign it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from watchducks.cli import api
from watchducks.cli.common import CommandError, Parents, lines
from watchducks.demo.command import say

if TYPE_CHECKING:
    from watchducks.cli.common import Commands

# What the API accepts of a zone file (watchducks.lookups.zonefile), in octets.
MAX_FILE_OCTETS: Final = 512 * 1024

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


def add(actions: Commands, parents: Parents) -> None:
    """Add to the actions of `watchducks site`."""
    importing = actions.add_parser(
        "import-zone",
        parents=[parents.remote],
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
    importing.set_defaults(run=_import_zone)
    for action, text in (
        ("dnssec", "show how a site's zone is signed, and the DS for its registrar"),
        ("roll-keys", "begin to replace the key that signs a site's zone"),
        ("confirm-ds", "say that the registrar has the DS shown by dnssec, or none if none is"),
    ):
        parser = actions.add_parser(action, parents=[parents.remote], help=text)
        parser.add_argument("name")
        parser.set_defaults(run=_key_step)


def _site(options: argparse.Namespace) -> str:
    return f"{api.console_of(options)}/api/v1/sites/{api.segment(options.name)}"


async def _import_zone(_reactor: Any, options: argparse.Namespace) -> int:
    """Import a zone file and print what that changed, as a diff does."""
    wanted = {
        "zonefile": _zone_file(options.file),
        "replace": options.replace,
        "dry_run": options.dry_run,
    }
    body = await api.done("POST", f"{_site(options)}/records/import", options, wanted)
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


async def _key_step(_reactor: Any, options: argparse.Namespace) -> int:
    """Take the step of the zone's keys that was asked for, if any, and show how they are."""
    url = f"{_site(options)}/dnssec"
    step = _KEY_STEPS[options.action]
    if step is None:
        body = await api.done("GET", url, options)
    else:
        body = await api.done("POST", url, options, {"step": step})
    say(json.dumps(body, ensure_ascii=False) if options.json else _dnssec_lines(body))
    return 0


def _dnssec_lines(body: Any) -> str:
    """Return how a zone is signed, with what its owner does next."""
    shown = {key: body[key] for key in ("zone", "phase", "until", "ds") if body[key]}
    shown["keys"] = [key["key_tag"] for key in body["keys"]]
    advice = _KEY_ADVICE.get(body["phase"])
    return "\n".join(filter(None, (lines(shown), advice)))
