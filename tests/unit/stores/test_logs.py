"""What opening a log store costs in memory, in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

OPEN = """
import sys
from twisted.internet.task import Clock
from watchducks.stores.logs import open_log_store
open_log_store(sys.argv[1], pool=None, reactor=Clock())
dates = sys.modules.get("clickhouse_driver.columns.datecolumn")
print("clickhouse_driver" in sys.modules, dates and len(dates._date_lut))
"""


@pytest.mark.parametrize(
    ("url", "loaded"),
    [
        ("chdb:///nowhere", "False None"),
        ("clickhouse://default:@127.0.0.1:9000/logs", "True 0"),
    ],
)
def test_only_the_store_that_is_used_is_loaded_and_without_a_table_of_dates(
    url: str, loaded: str
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", OPEN, url], capture_output=True, text=True, timeout=30, check=False
    )
    assert found.stdout.strip() == loaded, found.stderr
