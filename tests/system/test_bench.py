"""The benchmarks, as short as it gets: beside the real peers, and `bench.logs`."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.servers.process import find_program
from tests.system.appliance import ROOT

PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
PROGRAMS = ["nginx", "haproxy", "caddy", "wrk", "h2load", "clickhouse-server"]


def bench(
    *arguments: str, path: str = PATH, module: str = "bench.proxy"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
    )


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
@pytest.mark.timeout(120)
def test_short_run_measures_all_four_servers() -> None:
    for program in PROGRAMS:
        find_program(program)
    done = bench("--quick", "--rows", "http", "--seconds", "1", "--runs", "1")
    assert done.returncode == 0, done.stderr
    cells = re.search(r"^\| a request, us of CPU \|(.*)\|$", done.stdout, re.MULTILINE)
    assert cells is not None, done.stdout
    figures = [float(cell) for cell in cells[1].split("|")]
    assert len(figures) == 4
    assert all(1 < figure < 10_000 for figure in figures)
    assert "at most 1.6 x nginx: " in done.stdout


@pytest.mark.timeout(120)
def test_short_run_of_the_logs_appends_and_ships() -> None:
    find_program("clickhouse-server")
    done = bench("--quick", "--rows", "append", "prepare", "clickhouse", module="bench.logs")
    assert done.returncode == 0, done.stderr
    figures = re.findall(r"^\| (?!\|).*\| (\d[\d.]*) \|$", done.stdout, re.MULTILINE)
    assert len(figures) == 9, done.stdout
    assert all(float(figure) > 0 for figure in figures)
    assert "at least 50000 rows/s: " in done.stdout


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
@pytest.mark.timeout(120)
def test_short_run_measures_all_four_name_servers() -> None:
    for program in ("nsd", "gdnsd", "pdns_server", "dnsperf"):
        find_program(program)
    done = bench("--quick", "--rows", "positive", module="bench.dns")
    assert done.returncode == 0, done.stderr
    cells = re.search(r"^\| a question, us of CPU \|(.*)\|$", done.stdout, re.MULTILINE)
    assert cells is not None, done.stdout
    figures = [float(cell) for cell in cells[1].split("|")]
    assert len(figures) == 4
    assert all(0.5 < figure < 1_000 for figure in figures)
    assert "at most 2 x NSD: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rows", "ducks"], "invalid choice: 'ducks'"),
        (["--runs", "0"], "0 is not between 1 and 1000"),
        (["--seconds", "never"], "argument --seconds: invalid"),
    ],
)
def test_wrong_option_is_one_line_and_no_run(arguments: list[str], said: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(120)
def test_short_run_of_the_failover_leads_visitors_to_the_origin_in_time() -> None:
    done = bench("--quick", module="bench.failover")
    assert done.returncode == 0, done.stderr
    rows = re.findall(
        r"^\| (killed|frozen) \| ([\d.]+) s \| ([\d.]+) s \|", done.stdout, re.MULTILINE
    )
    assert [way for way, _, _ in rows] == ["killed", "frozen"], done.stdout
    # Intervals and time limit are 0.4 s: the rule of prober.py makes that 1.1 s, and the rest is
    # for a busy machine.
    assert all(0 < float(first) < 4 and 0 < float(last) < 4 for _, first, last in rows)
