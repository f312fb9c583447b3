"""A test or fixture that never ends fails within its time limit, and the run goes on after it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Each would hang a run under pytest-timeout alone, or is a way of hanging of its own.
CASES = """
import time
import pytest
import pytest_twisted
from hypothesis import Phase, given, settings, strategies
from twisted.internet.defer import CancelledError, Deferred

pytestmark = pytest.mark.timeout(1)
ended = []

@pytest_twisted.ensureDeferred
async def test_never_fires():
    try:
        await Deferred()
    finally:
        ended.append("never_fires")

@pytest_twisted.ensureDeferred
async def test_ignores_cancellation():
    while True:
        try:
            await Deferred()
        except CancelledError:
            pass

@given(number=strategies.integers())
@settings(max_examples=1, phases=[Phase.generate])
@pytest_twisted.ensureDeferred
async def test_hypothesis_never_fires(number):
    await Deferred()

@pytest_twisted.async_fixture
async def endless():
    await Deferred()

def test_fixture_never_fires(endless):
    pass

def test_blocks():
    time.sleep(30)

@pytest_twisted.ensureDeferred
async def test_blocks_the_reactor():
    time.sleep(30)

@pytest_twisted.ensureDeferred
async def test_passes_afterwards():
    from twisted.internet import reactor
    from twisted.internet.task import deferLater
    assert ended == ["never_fires"]
    assert await deferLater(reactor, 0.01, lambda: "quack") == "quack"
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("limits")
    (directory / "test_cases.py").write_text(CASES)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.limits", "-rA", "--rootdir", "."],
        cwd=directory,
        # Wide, or pytest shortens the reasons.
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return result.stdout


@pytest.mark.parametrize(
    "name",
    ["test_never_fires", "test_ignores_cancellation", "test_hypothesis_never_fires"],
)
def test_endless_waiting_fails(output: str, name: str) -> None:
    assert f"FAILED test_cases.py::{name} - tests.limits.TestTimeout: still waiting" in output


def test_endless_fixture_is_an_error(output: str) -> None:
    case = "test_cases.py::test_fixture_never_fires"
    assert f"ERROR {case} - tests.limits.TestTimeout: still waiting" in output


@pytest.mark.parametrize("name", ["test_blocks", "test_blocks_the_reactor"])
def test_blocking_fails(output: str, name: str) -> None:
    assert f"FAILED test_cases.py::{name} - Failed: Timeout (>1.0s)" in output


def test_what_follows_is_not_disturbed(output: str) -> None:
    assert "PASSED test_cases.py::test_passes_afterwards" in output
