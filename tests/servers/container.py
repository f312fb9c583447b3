"""A small Debian with a systemd of its own, where the package is installed as it is on a server.

systemd-nspawn boots it on a root that is made once (mmdebstrap, a minute) and kept in the user's
cache; what a run writes goes to an overlay and is forgotten. Its network is a namespace that has
only loopback, so that ports 53, 80 and 443 are there to have; visitors of it are run in the same.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.servers.process import find_program, missing
from tests.servers.waiting import wait_until

ROOT: Final = Path(__file__).parents[2]
# What a minimal Debian needs to run the package, and to look at what it does.
PACKAGES: Final = ("systemd", "dbus", "iproute2", "python3", "ca-certificates")
# A download of 60 packages, and their configuration.
MAKE_SECONDS: Final = 300
BOOT_SECONDS: Final = 60
STOP_SECONDS: Final = 30
# What systemd-nspawn ends with when the container wants to be started again.
REBOOTS: Final = 133
# Its own address, and the origin's, on loopback.
ADDRESS: Final = "203.0.113.10"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "watchducks"


def base_root() -> Path:
    """Return the Debian that all containers begin with; made when there is none yet."""
    root = _cache() / "bookworm-minbase"
    if not root.exists():
        new = root.with_name(f"{root.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(parents=True, exist_ok=True)
        run(
            *(find_program("mmdebstrap"), "--quiet", "--variant=minbase"),
            # The user that apt changes to cannot write to /dev/null everywhere.
            *('--aptopt=APT::Sandbox::User "root"', f"--include={','.join(PACKAGES)}"),
            *("bookworm", str(new)),
            seconds=MAKE_SECONDS,
        )
        new.rename(root)
    return root


def run(*command: str, seconds: float) -> str:
    """Run a command that has to succeed; return what it said."""
    found = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert found.returncode == 0, f"{' '.join(command)}\n{found.stdout}"
    return found.stdout


def chdb_folders() -> list[Path]:
    """Return what makes up chDB in the test run's virtualenv: half a gigabyte that need no copy."""
    found = [path / name for path in map(Path, sys.path) for name in ("chdb", "chdb_core.libs")]
    return [path for path in found if path.is_dir()]


class Container:
    """One container. Needs root; see :func:`base_root` for what has to be installed."""

    def __init__(self, directory: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root may boot a container")
        self._nspawn = find_program("systemd-nspawn")
        for program in ("nsenter", "ip", "mount"):
            find_program(program)
        self.directory = directory
        self.root = directory / "root"
        self.log = directory / "nspawn.log"
        self.netns = f"ducks-{secrets.token_hex(4)}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Boot, and return when systemd has started all there is."""
        lower, upper, work = base_root(), self.directory / "upper", self.directory / "work"
        for folder in (upper, work, self.root):
            folder.mkdir(parents=True)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        run("mount", "-t", "overlay", "overlay", "-o", options, str(self.root), seconds=10)
        run("ip", "netns", "add", self.netns, seconds=10)
        run("ip", "-n", self.netns, "link", "set", "lo", "up", seconds=10)
        run("ip", "-n", self.netns, "addr", "add", f"{ADDRESS}/32", "dev", "lo", seconds=10)
        self._boot()

    def _boot(self) -> None:
        binds = [f"--bind-ro={folder}:/opt/chdb/{folder.name}" for folder in chdb_folders()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "TERM", self._nspawn, "--quiet"),
                    *(f"--directory={self.root}", f"--machine={self.netns}", "--boot"),
                    *("--register=no", "--keep-unit"),
                    f"--network-namespace-path=/run/netns/{self.netns}",
                    *("--resolv-conf=off", "--timezone=off", "--console=pipe", *binds),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_for_boot()

    def wait_for_boot(self) -> None:
        wait_until(self._is_up, f"the container to boot\n{self.log.read_text()}", BOOT_SECONDS)

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the container is gone\n{self.log.read_text()}"
        if self._leader() is None:
            return False
        found = self.execute("systemctl", "is-system-running")
        return found.stdout.strip() in ("running", "degraded")

    def _leader(self) -> str | None:
        """Return the process id of the container's systemd, as this host has it."""
        assert self._process is not None
        pid = self._process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return children[0] if children else None
        return None

    def execute(
        self, *command: str | Path, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as root; its exit code is the caller's to judge."""
        leader = self._leader()
        assert leader is not None, f"the container is gone\n{self.log.read_text()}"
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            ["nsenter", "--target", leader, "--all", "env", "-i", path, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )

    def must(self, *command: str | Path, seconds: float = 60) -> str:
        """Run a command in the container that has to succeed; return what it said."""
        found = self.execute(*command, seconds=seconds)
        assert found.returncode == 0, f"{command}\n{found.stdout}\n{self.journal()}"
        return found.stdout

    def journal(self, *options: str) -> str:
        """Return the end of what the appliance wrote, or what ``options`` of journalctl choose."""
        chosen = options or ("--lines=60",)
        return self.execute(
            *("journalctl", "--no-pager", "--output=short", "-u", "watchducks@*", *chosen)
        ).stdout

    def beside(self, *command: str) -> list[str]:
        """Return the command that runs ``command`` of this host in the container's network."""
        return ["ip", "netns", "exec", self.netns, *command]

    def reboot(self) -> None:
        """Reboot, and return when systemd has started all there is again."""
        assert self._process is not None
        self.execute("systemctl", "reboot")
        # nspawn leaves it to its service manager to start it again.
        assert self._process.wait(STOP_SECONDS + BOOT_SECONDS) == REBOOTS, self.log.read_text()
        self._boot()

    def stop(self) -> None:
        """Power off, and forget what was written."""
        if self._process is not None:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                self.execute("systemctl", "poweroff")
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_SECONDS)
            self._process = None
        subprocess.run(["umount", str(self.root)], check=False, capture_output=True, timeout=30)
        subprocess.run(
            ["ip", "netns", "delete", self.netns], check=False, capture_output=True, timeout=30
        )


def build_package(directory: Path) -> Path:
    """Build the Debian package of this checkout, without chDB, and return it."""
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("PYTHON")}
    environment |= {
        "PIP_PYTHON": sys.executable,
        "WITHOUT_CHDB": "1",
        "COMPRESSION": "1",
        "OUTPUT": str(directory),
    }
    for command in (
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(directory), str(ROOT)],
        [str(ROOT / "scripts" / "make-deb")],
    ):
        if command[0].endswith("make-deb"):
            command += [str(path) for path in directory.glob("*.whl")]
        found = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert found.returncode == 0, found.stdout
    try:
        (package,) = directory.glob("*.deb")
    except ValueError:
        missing("dpkg-deb")
    return package
