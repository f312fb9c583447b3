"""A long chaos: whatever can die does, again and again. ``python -m bench.chaos --rounds 20``.

Prints what happened, and how many answers, rows, lost and doubled ones there were; exits with 1
unless both of the last are 0.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tests.servers.clickhouse import ClickHouse
from tests.system.appliance import Twistd
from tests.system.chaos import (
    Chaos,
    Embedded,
    LogStore,
    Server,
    compare,
    disk_of_its_own,
    rows_of,
)
from tests.system.origin import Origin

# For what is left in the spool at the end.
SHIP_SECONDS: Final = 300.0


def main(arguments: list[str]) -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how often each thing happens")
    parser.add_argument("--seed", type=int, default=1, help="another order, other moments")
    parser.add_argument("--store", choices=["clickhouse", "chdb"], default="clickhouse")
    options = parser.parse_args(arguments)
    logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)
    with (
        tempfile.TemporaryDirectory(prefix="watchducks-chaos-") as name,
        ExitStack() as at_end,
    ):
        directory = Path(name)
        origin = at_end.enter_context(Origin())
        settings: dict[str, dict[str, Any]] = {
            "node": {"roles": ["proxy", "console"]},
            "logs": {"flush_seconds": 1.0},
        }
        store: LogStore
        if options.store == "clickhouse":
            (directory / "clickhouse").mkdir()
            clickhouse = ClickHouse(directory / "clickhouse")
            clickhouse.start()
            at_end.callback(clickhouse.stop)
            settings["logs"]["url"] = clickhouse.fresh_database()
            store = Server(clickhouse, settings["logs"]["url"])
        appliance = Twistd(directory / "appliance", settings)
        at_end.callback(appliance.stop)
        if options.store == "chdb":
            store = Embedded(appliance, appliance.data_dir / "logs")
        disk = at_end.enter_context(disk_of_its_own(appliance.data_dir / "spool"))
        chaos = Chaos(appliance, store, disk=disk)
        answered = chaos.run(origin, options.rounds, options.seed)
        rows = rows_of(appliance, store, SHIP_SECONDS)
    wrong = compare(answered, rows)
    print(f"happened: {', '.join(chaos.happened)}")
    print(
        f"{len(answered)} answers, {rows.total()} rows,"
        f" {len(wrong['lost'])} lost, {len(wrong['doubled'])} doubled"
    )
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
