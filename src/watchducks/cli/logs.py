"""Commands about what was measured: old access logs into it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.task import deferLater

from watchducks import settings as settings_module
from watchducks.cli.common import CommandError, Parents
from watchducks.demo.command import say

if TYPE_CHECKING:
    from watchducks.cli.common import Commands
    from watchducks.journal.imports import LogImport

# What is held back, so that a day's lines come together, and visitors count once in it: twenty
# segments or some hundred.
HELD_BYTES: Final = 64 * 1024 * 1024
# The spool's bound is for live traffic; an import leaves half of it free.
SPOOL_SHARE: Final = 4
# How long the spool may stand still before we give up, and how often we look.
PATIENCE_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.2


def add(commands: Commands, parents: Parents) -> None:
    """Add ``watchducks logs``."""
    logs = commands.add_parser("logs", help="what was measured")
    actions = logs.add_subparsers(dest="action", required=True, metavar="ACTION")
    importing = actions.add_parser(
        "import",
        parents=[parents.configured],
        help="read an old access log",
        description="Read an access log of the server that a site had before, so that its charts do"
        " not begin empty. The appliance on this host enriches and stores it like traffic of its"
        " own. A file that is read again, or has grown, goes on where it ended; that is known to"
        " this host alone, so import a file on one host only.",
    )
    importing.add_argument("site", metavar="SITE", help="the site's name")
    importing.add_argument("file", type=Path, metavar="FILE", help="plain or packed by gzip")
    importing.add_argument(
        "--format",
        choices=("combined", "caddy"),
        default="combined",
        help="combined: nginx and Apache; caddy: Caddy's JSON; default: combined",
    )
    importing.set_defaults(run=_import)


async def _import(reactor: Any, options: argparse.Namespace) -> int:
    from watchducks.appliance.sites import open_registry  # noqa: PLC0415
    from watchducks.background import ThreadPool  # noqa: PLC0415
    from watchducks.journal.access_logs import FORMATS  # noqa: PLC0415
    from watchducks.journal.imports import LogImport  # noqa: PLC0415

    settings = settings_module.find(options.config)
    async with open_registry(settings, reactor) as registry:
        site = await registry.site(options.site)
    if site is None:
        raise CommandError(f"there is no site {options.site}")
    parse = FORMATS[options.format](site.id, site.domain)
    pool = ThreadPool("import", 1, reactor=reactor)
    pool.start()
    try:
        importing = await pool.run(
            LogImport, options.file, parse, site.id, settings.node.data_dir, now=time.time
        )
        try:
            return await _read_all(reactor, pool, importing, settings.logs.spool_bytes)
        finally:
            importing.close()
    except BlockingIOError:
        raise CommandError("another import runs on this host") from None
    except EOFError as error:
        raise CommandError(f"{options.file}: {error}") from None
    except OSError as error:
        raise CommandError(f"{error.filename or options.file}: {error.strerror or error}") from None
    finally:
        pool.stop()


async def _read_all(reactor: Any, pool: Any, importing: LogImport, spool_bytes: int) -> int:
    rows = unknown = 0
    example = ""
    if importing.offset:
        say(f"{importing.offset} bytes of it were read before.")
    while True:
        taken = await pool.run(importing.take)
        rows, unknown = rows + taken.rows, unknown + taken.unknown
        example = example or taken.first_unknown
        if taken.is_end or taken.size_bytes >= min(HELD_BYTES, spool_bytes // SPOOL_SHARE):
            await _wait_for_room(reactor, pool, importing, spool_bytes // SPOOL_SHARE)
            await pool.run(importing.hand_over)
        if taken.is_end:
            break
    say(f"{rows} requests were handed over; they are in the charts within seconds.")
    if unknown:
        sys.stderr.write(f"watchducks: {unknown} lines were not understood, such as: {example}\n")
    return 0 if rows or not unknown else 1


async def _wait_for_room(reactor: Any, pool: Any, importing: LogImport, most_bytes: int) -> None:
    """Wait until little waits to be shipped. :raises CommandError: nothing moves."""
    least = waiting = await pool.run(importing.waiting_bytes)
    moved = reactor.seconds()
    while waiting > most_bytes:
        if reactor.seconds() > moved + PATIENCE_SECONDS:
            raise CommandError(
                "the spool does not empty: is the appliance running, and its log store? What was"
                " handed over stays, and the same command goes on after it"
            )
        await deferLater(reactor, LOOK_SECONDS)
        waiting = await pool.run(importing.waiting_bytes)
        if waiting < least:
            least, moved = waiting, reactor.seconds()
