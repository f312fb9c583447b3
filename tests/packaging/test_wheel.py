"""From a clean checkout: `pip install .` and a wheel work in an empty virtualenv.

The checkout is what git has or would add, so that it shows what was forgotten, and what is ignored
(the built web bundle) is not there. Three steps, each used by the next:

1. `pip install` of the checkout: the build has to make the web bundle;
2. an sdist of it, which carries the bundle;
3. a wheel of that sdist, for which no node is asked for.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers.ports import LOOPBACK
from tests.servers.process import find_program

ROOT = Path(__file__).parent.parent.parent

# Creating a virtualenv and downloading and installing forty packages, without the big chDB.
pytestmark = pytest.mark.timeout(600)
STEP_SECONDS = 300


def run(*command: str | Path, cwd: Path, returns: int = 0) -> subprocess.CompletedProcess[str]:
    # None of the test run's own settings, or a PYTHONPATH could make up for what is not installed.
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("PYTHON")}
    result = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=STEP_SECONDS,
        check=False,
    )
    assert result.returncode == returns, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


class Installed(NamedTuple):
    checkout: Path
    bin: Path
    share: Path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Step 1: a clean checkout, installed into an empty virtualenv."""
    directory = tmp_path_factory.mktemp("packaging")
    checkout = directory / "checkout"
    listing = run(
        *(find_program("git"), "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
        cwd=ROOT,
    )
    for name in filter(None, listing.stdout.split("\0")):
        source, target = ROOT / name, checkout / name
        if source.is_symlink() or source.is_file():  # else deleted, and not yet committed
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                target.symlink_to(source.readlink())
            else:
                target.write_bytes(source.read_bytes())
    # What an earlier build left is not packed again.
    left = checkout / "build" / "lib" / "watchducks" / "gone.py"
    left.parent.mkdir(parents=True)
    left.write_text("")
    environment = directory / "environment"
    # Without pip, which takes long to install; the test run's pip installs into it.
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=directory)
    run(
        *(sys.executable, "-m", "pip", "--python", environment / "bin" / "python"),
        *("install", "--quiet", "--constraint", ROOT / "constraints.txt", checkout),
        cwd=directory,
    )
    return Installed(checkout, environment / "bin", environment / "share" / "watchducks")


class Built(NamedTuple):
    sdist: set[str]
    wheel: set[str]


@pytest.fixture(scope="module")
def built(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Steps 2 and 3; the names of the files in the sdist and in the wheel that was built of it."""
    output = tmp_path_factory.mktemp("dist")
    run(
        *(sys.executable, "-m", "build", "--outdir", output, installed.checkout),
        cwd=output,
    )
    (sdist,) = output.glob("*.tar.gz")
    (wheel,) = output.glob("*.whl")
    with tarfile.open(sdist) as archive:
        # Without the archive's one top directory.
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive_:
        in_wheel = set(archive_.namelist())
    return Built(in_sdist, in_wheel)


def test_twistd_lists_the_plugin_from_any_directory(installed: Installed) -> None:
    plugins = run(installed.bin / "twistd", "--help", cwd=Path("/")).stdout
    assert "\n    watchducks " in plugins


def test_what_an_earlier_build_left_is_not_installed(installed: Installed) -> None:
    (package,) = installed.bin.parent.glob("lib/python*/site-packages/watchducks")
    assert (package / "tap.py").exists()
    assert not (package / "gone.py").exists()


def test_twistd_knows_our_options(installed: Installed) -> None:
    options = run(installed.bin / "twistd", "watchducks", "--help", cwd=Path("/")).stdout
    assert "--config" in options


def test_command_tells_its_version(installed: Installed, tmp_path: Path) -> None:
    version = run(installed.bin / "watchducks", "--version", cwd=tmp_path).stdout
    (metadata,) = installed.bin.parent.glob("lib/python*/site-packages/watchducks-*.dist-info")
    assert version.split() == ["watchducks", metadata.stem.removeprefix("watchducks-")]


@pytest.fixture
def config(installed: Installed, tmp_path: Path) -> Iterator[Path]:
    """The example configuration as it was installed, on paths of ours and without chDB.

    Something listens where it looks for ClickHouse: `watchducks check` looks no further.
    """
    text = (installed.share / "etc" / "watchducks.toml").read_text()
    text = text.replace("/var/lib/watchducks", str(tmp_path / "data"))
    with socket.create_server((LOOPBACK, 0)) as store:
        host, port = store.getsockname()
        url = f"clickhouse://default:@{host}:{port}/watchducks"
        text, replaced = re.subn('"chdb:[^"]*"', f'"{url}"', text)
        assert replaced == 1
        config = tmp_path / "watchducks.toml"
        config.write_text(text)
        yield config


def test_example_configuration_is_right(installed: Installed, config: Path) -> None:
    run(installed.bin / "watchducks", "check", "--config", config, cwd=Path("/"))


def test_wrong_configuration_is_named(installed: Installed, config: Path) -> None:
    config.write_text(config.read_text().replace("flush_rows =", "flush_ducks ="))
    check = run(
        *(installed.bin / "watchducks", "check", "--config", config), cwd=Path("/"), returns=1
    )
    assert "logs.flush_ducks" in check.stderr
    assert "Traceback" not in check.stderr


def test_systemd_unit_starts_what_is_installed(installed: Installed) -> None:
    unit = (installed.share / "systemd" / "watchducks@.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.*)", unit, re.MULTILINE)
    programs = re.findall(r"/opt/watchducks/%i/bin/(\S+)", command)
    assert programs == ["python", "twistd"]
    for program in (*programs, "watchducks", "watchducks-swap"):
        assert (installed.bin / program).is_file()


def test_every_module_can_be_imported(installed: Installed, tmp_path: Path) -> None:
    """None needs a package that only the development environment has, but chDB's own."""
    script = (
        "import importlib, pkgutil, watchducks\n"
        "for module in pkgutil.walk_packages(watchducks.__path__, 'watchducks.'):\n"
        "    if 'chdb' not in module.name and '.migrations.' not in module.name:\n"
        "        importlib.import_module(module.name)\n"
        "        print(module.name)\n"
    )
    output = run(installed.bin / "python", "-c", script, cwd=tmp_path).stdout
    assert "watchducks.appliance" in output.split()


def in_tree(pattern: str) -> set[str]:
    """Return the files of the source tree that match, relative to src."""
    found = {path.relative_to(ROOT / "src") for path in (ROOT / "src").glob(pattern)}
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


@pytest.mark.parametrize(
    "pattern",
    [
        "watchducks/**/*.py",
        "watchducks/**/templates/**/*.*",
        "watchducks/**/migrations/**/*.*",
        "watchducks/**/locale/**/*.po",
        "watchducks/py.typed",
    ],
)
def test_wheel_has_all_of_the_source_tree(built: Built, pattern: str) -> None:
    expected = in_tree(pattern)
    assert expected, f"nothing matches {pattern}"
    assert expected <= built.wheel


def test_wheel_has_the_web_bundle_as_it_was_built(installed: Installed, built: Built) -> None:
    source = installed.checkout / "src"
    bundle = source / "watchducks" / "console" / "static"
    names = {path.relative_to(source).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {Path(name).suffix for name in names} >= {".js", ".css"}
    assert names <= built.wheel


def test_wheel_adds_one_module_to_twisted(built: Built) -> None:
    ours = {name for name in built.wheel if name.startswith("twisted/")}
    assert ours == {"twisted/plugins/watchducks_plugin.py"}


@pytest.mark.parametrize(
    "path",
    [
        "etc/watchducks.toml",
        "systemd/watchducks@.service",
        "systemd/watchducks.service",
        "systemd/watchducks.target",
        "systemd/watchducks-dns.socket",
        "systemd/watchducks.sysusers",
        "systemd/watchducks.tmpfiles",
    ],
)
def test_wheel_has_the_administrators_files(built: Built, path: str) -> None:
    assert any(name.endswith(f".data/data/share/watchducks/{path}") for name in built.wheel)


def test_wheel_has_nothing_else(built: Built) -> None:
    """No tests, no sources of the bundle, no build files: what is installed can be imported."""
    top = {name.partition("/")[0] for name in built.wheel}
    assert {name for name in top if not name.startswith("watchducks-")} == {"watchducks", "twisted"}


def test_sdist_can_build_and_explain_itself(built: Built) -> None:
    wanted = {
        "LICENSE",
        "README.md",
        "build_backend/watchducks_build.py",
        "constraints.txt",
        "src/twisted/plugins/watchducks_plugin.py",
        "web/package-lock.json",
        "web/vite.config.ts",
    }
    assert wanted - built.sdist == set()
    assert not any("node_modules" in name for name in built.sdist)
