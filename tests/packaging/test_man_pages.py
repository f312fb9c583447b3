"""The manual pages are right for man, and name what there is."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.servers.process import find_program

ROOT = Path(__file__).parents[2]
CONFIGURATION = "watchducks.toml.5"


@pytest.fixture
def pages(tmp_path: Path) -> dict[str, Path]:
    """Name -> page; that of the configuration is made from the example."""
    made = tmp_path / CONFIGURATION
    made.write_bytes(
        subprocess.run(
            [ROOT / "scripts" / "make-configuration-page"],
            check=True,
            capture_output=True,
            timeout=20,
        ).stdout
    )
    return {path.name: path for path in (*(ROOT / "man").glob("*.[1-8]"), made)}


def shown(page: Path) -> str:
    """Return a page as people read it; man has to have nothing to say about it."""
    found = subprocess.run(
        [find_program("man"), "--warnings", "--local-file", page],
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "120", "MANROFFOPT": "-c"},
    )
    assert (found.returncode, found.stderr) == (0, "")
    return re.sub(".\b", "", found.stdout)


def test_man_has_nothing_to_say(pages: dict[str, Path]) -> None:
    assert pages.keys() == {"watchducks.1", "watchducks-swap.8", CONFIGURATION}
    for page in pages.values():
        assert "WatchDucks" in shown(page)


def test_the_page_of_the_configuration_has_every_line_of_the_example(
    pages: dict[str, Path],
) -> None:
    text = shown(pages[CONFIGURATION])
    for line in (ROOT / "etc" / "watchducks.toml").read_text().splitlines():
        assert line.split("#")[0].strip() in text
