"""Twisted's own suite for reactors, and random traffic, over the stock reactor and ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reactor.conformance import MODULES, OURS, STOCK

ROOT = Path(__file__).parents[2]
# Each takes 5 s on an idle machine. A test of Twisted's that hangs gives up after 120.
SUITE_SECONDS = 170


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.reactor.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(SUITE_SECONDS + 10)
def test_ours_passes_what_the_stock_reactor_passes() -> None:
    children = {name: start("conformance", name) for name in (STOCK, OURS)}
    outcomes, logs = {}, {}
    try:
        for name, child in children.items():
            out, logs[name] = child.communicate(timeout=SUITE_SECONDS)
            assert child.returncode == 0, logs[name][-5000:]
            # The last line: tests that fork may print.
            outcomes[name] = json.loads(out.splitlines()[-1])
    finally:
        for child in children.values():
            child.kill()
            child.wait()

    stock, ours = outcomes[STOCK], outcomes[OURS]
    assert stock.keys() == ours.keys()
    for module in MODULES:
        assert any(test.startswith(f"{module}.") for test in stock), f"{module} has no tests"
    assert sum(outcome == "passed" for outcome in stock.values()) > 250
    different = {
        test: f"stock: {stock[test]}; ours: {ours[test]}"
        for test in stock
        if stock[test] != ours[test]
    }
    assert not different, f"{different}\n{logs[OURS][-5000:]}"


@pytest.mark.parametrize("reactor", [STOCK, OURS], ids=["stock", "ours"])
def test_random_traffic(reactor: str) -> None:
    child = start("stress", reactor, "1", "4")
    try:
        out, log = child.communicate(timeout=50)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 0, log[-5000:]
    for scenario in ("polite", "one way", "rude", "abort", "raise"):
        assert f"'{scenario}'" in out, out
