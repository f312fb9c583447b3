"""A long chaos: whatever can die does, again and again. ``python -m bench.chaos --rounds 20``.

Prints what happened, and how many answers, rows, lost and doubled ones there were; exits with 1
unless both of the last are 0.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.servers.clickhouse import ClickHouse
from tests.system.appliance import Twistd
from tests.system.chaos import Chaos, compare, disk_of_its_own, rows_of
from tests.system.origin import Origin

# For what is left in the spool at the end.
SHIP_SECONDS: Final = 300.0


def main(arguments: list[str]) -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how often each thing happens")
    parser.add_argument("--seed", type=int, default=1, help="another order, other moments")
    options = parser.parse_args(arguments)
    logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="watchducks-chaos-") as name, Origin() as origin:
        directory = Path(name)
        (directory / "clickhouse").mkdir()
        clickhouse = ClickHouse(directory / "clickhouse")
        clickhouse.start()
        url = clickhouse.fresh_database()
        settings: dict[str, dict[str, Any]] = {
            "node": {"roles": ["proxy", "console"]},
            "logs": {"url": url, "flush_seconds": 1.0},
        }
        appliance = Twistd(directory / "appliance", settings)
        try:
            with disk_of_its_own(appliance.data_dir / "spool") as disk:
                chaos = Chaos(appliance, clickhouse, disk=disk)
                answered = chaos.run(origin, options.rounds, options.seed)
                rows = rows_of(appliance, clickhouse, url, SHIP_SECONDS)
                appliance.stop()
        finally:
            appliance.stop()
            clickhouse.stop()
    wrong = compare(answered, rows)
    print(f"happened: {', '.join(chaos.happened)}")
    print(
        f"{len(answered)} answers, {rows.total()} rows,"
        f" {len(wrong['lost'])} lost, {len(wrong['doubled'])} doubled"
    )
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
