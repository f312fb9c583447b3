"""Which reactor a process gets: proved with the real twistd, and a plug-in made for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TWISTD = Path(sys.executable).parent / "twistd"

OURS = "watchducks.reactor.loop.FastEPollReactor"
STOCK = "twisted.internet.epollreactor.EPollReactor"

# As watchducks.tap does it: once the options of twistd itself have been read.
_TAP = """
from twisted.application.service import Service
from twisted.python import usage
from watchducks.reactor import install_if_none

class Options(usage.Options):
    def postOptions(self):
        install_if_none()

class Stopping(Service):
    def startService(self):
        from twisted.internet import reactor
        reactor.callWhenRunning(reactor.stop)

def makeService(options):
    return Stopping()
"""
_PLUGIN = """
from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker
service_maker = ServiceMaker("choosing", "choosing_tap", "Chooses a reactor.", "choosing")
installer = Reactor("fast", "watchducks.reactor", "epoll with a fast path")
"""


@pytest.fixture
def plugin_path(tmp_path: Path) -> Path:
    """A directory with a twistd command "choosing" and a reactor "fast"."""
    plugins = tmp_path / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "choosing.py").write_text(_PLUGIN)
    (tmp_path / "choosing_tap.py").write_text(_TAP)
    return tmp_path


def twistd(path: Path, *options: str, command: str = "choosing") -> str:
    """Run it to its end and return its log."""
    done = subprocess.run(
        [TWISTD, "-n", "--pidfile=", *options, command],
        cwd=path,
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ours_is_the_choice_of_who_names_none(plugin_path: Path) -> None:
    assert f"reactor class: {OURS}" in twistd(plugin_path)


def test_the_user_has_the_last_word(plugin_path: Path) -> None:
    assert f"reactor class: {STOCK}" in twistd(plugin_path, "--reactor", "epoll")


def test_ours_may_be_named(plugin_path: Path) -> None:
    assert f"reactor class: {OURS}" in twistd(plugin_path, "--reactor", "fast")


def test_a_reactor_that_is_there_stays() -> None:
    program = (
        "from twisted.internet import epollreactor; epollreactor.install()\n"
        "from watchducks.reactor import install, install_if_none; install_if_none()\n"
        "from twisted.internet import reactor; print(type(reactor).__name__)\n"
        "from twisted.internet.error import ReactorAlreadyInstalledError\n"
        "try: install()\n"
        "except ReactorAlreadyInstalledError: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == ["EPollReactor", "refused"]


def test_importing_ours_installs_nothing() -> None:
    program = (
        "import sys, watchducks.reactor, watchducks.tap\n"
        "assert 'twisted.internet.reactor' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], timeout=30, check=True)
