"""A host as an administrator has it: Debian, our package, a site, and visitors who never pause."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from tests.servers.container import ADDRESS, ROOT, Container, run
from tests.servers.waiting import wait_until

DOMAIN: Final = "www.ducks.example"
# Beside the appliance, on loopback; what it is registered with.
ORIGIN: Final = "127.0.0.2"
INSTALL_SECONDS: Final = 180
# A slow download and a WebSocket may end first.
SWAP_SECONDS: Final = 120
# The visitors' last requests, the download among them.
LAST_SECONDS: Final = 60
# For the number of visits that a test wants, beside what it does.
VISIT_SECONDS: Final = 120
# With a certificate it takes milliseconds.
HANDSHAKE_SECONDS: Final = 3
PACKAGE: Final = Path("opt/watchducks/package")

# The demands of a test on the configuration of the package.
_CHANGES: Final = (
    ("allow_private_origins = false", "allow_private_origins = true"),
    ("require_delegation = true", "require_delegation = false"),
    ("flush_seconds = 5", "flush_seconds = 1"),
    # The visitors ask from one address, and more than a network may.
    ("rrl_per_second = 200", "rrl_per_second = 0"),
)


class _Beside:
    """A module of bench/ that runs in the container's network until its input is closed."""

    def __init__(self, container: Container, *arguments: str) -> None:
        self._process = subprocess.Popen(
            container.beside(sys.executable, "-m", "bench.steady", *arguments),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._line() == b"ready\n"

    def _line(self) -> bytes:
        out: IO[bytes] | None = self._process.stdout
        assert out is not None
        return out.readline()

    def end(self) -> bytes:
        """Let it come to its end, and return what it said last."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        out: IO[bytes] | None = self._process.stdout
        assert out is not None
        try:
            line = out.read().splitlines(keepends=True)[-1:]
            self._process.wait(LAST_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
        return b"".join(line)


class Visitors(_Beside):
    """See :mod:`bench.steady`. To be used in a ``with``; then :attr:`found` has what they found."""

    found: dict[str, Any]

    def __init__(self, container: Container, *options: str) -> None:
        super().__init__(container, ADDRESS, DOMAIN, *options)

    def wait_for(self, requests: int, seconds: float = VISIT_SECONDS) -> None:
        """Wait until so many requests were answered, which they say once a second."""
        deadline = time.monotonic() + seconds
        while int(self._line()) < requests:
            assert time.monotonic() < deadline, f"fewer than {requests} requests"

    def __enter__(self) -> Visitors:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        line = self.end()
        if kind is None:
            self.found = json.loads(line)


class Host:
    """:ivar container: where it runs."""

    def __init__(self, directory: Path, package: Path) -> None:
        self.container = Container(directory)
        self._package = package
        self._origin: _Beside | None = None

    def start(self) -> None:
        """Boot, install the package, and register the site."""
        container = self.container
        container.start()
        # Half a gigabyte that the container borrows from the test run.
        dropin = container.root / "etc/systemd/system/watchducks@.service.d/chdb.conf"
        dropin.parent.mkdir(parents=True)
        dropin.write_text("[Service]\nEnvironment=PYTHONPATH=/opt/chdb\n")
        shutil.copy(self._package, container.root / "var/tmp")
        said = container.must(
            "dpkg", "--install", f"/var/tmp/{self._package.name}", seconds=INSTALL_SECONDS
        )
        assert "blue runs version" in said, said
        config = container.root / "etc/watchducks/watchducks.toml"
        text = config.read_text()
        for before, after in _CHANGES:
            assert before in text
            text = text.replace(before, after)
        config.write_text(text)
        container.must("systemctl", "restart", "watchducks.service")
        self.restart_origin()
        self.watchducks("site", "add", "ducks", DOMAIN, f"http://{ORIGIN}:8080", "a@ducks.example")
        self.certify()

    def restart_origin(self) -> None:
        """Start the site's own server, again if it is there."""
        if self._origin is not None:
            self._origin.end()
        self._origin = _Beside(self.container, ORIGIN, "--origin", "8080")

    def certify(self) -> None:
        """Give the site a certificate, so that it is visited by https as well."""
        certificates = self.container.root / "var/lib/watchducks/certificates"
        folder = certificates / DOMAIN
        folder.mkdir()
        run(
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=ducks"),
            *("-addext", f"subjectAltName=DNS:{DOMAIN},DNS:ducks.example"),
            *("-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")),
            seconds=30,
        )
        owner = certificates.stat()
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner.st_uid, owner.st_gid)
        wait_until(self._has_the_certificate, "the certificate to be found", 30)

    def _has_the_certificate(self) -> bool:
        command = ("openssl", "s_client", "-connect", f"{ADDRESS}:443", "-servername", DOMAIN)
        try:
            found = subprocess.run(
                self.container.beside(*command),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=HANDSHAKE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False  # without one it was passed through to the origin, which speaks no TLS
        return "subject=CN = ducks" in found.stdout

    def watchducks(self, *command: str, seconds: float = 30) -> str:
        return self.container.must("watchducks", *command, seconds=seconds)

    def swap(self) -> str:
        """Swap, which has to succeed; return what it said."""
        return self.container.must("watchducks-swap", seconds=SWAP_SECONDS)

    def status(self) -> dict[str, dict[str, Any]]:
        """Return what each instance that answers says of itself, by its name."""
        told = json.loads(self.container.execute("watchducks", "status", "--json").stdout)
        return {one["instance"]: one for one in told if "pid" in one}

    def running(self) -> str:
        """Return the one colour that runs."""
        (colour,) = self.status()
        return colour

    def rows(self) -> int:
        """Return how many requests the console counts for the site, of all time.

        -1 while it has no log store to ask.
        """
        now = int(time.time())
        begin, end = (
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t)) for t in (now - 7200, now + 7200)
        )
        url = f"http://127.0.0.1:8000/api/v1/sites/ducks/traffic?range=custom&from={begin}&to={end}"
        found = subprocess.run(
            self.container.beside("curl", "--silent", "--max-time", "20", url),
            capture_output=True,
            timeout=30,
            check=False,
        )
        return int(json.loads(found.stdout).get("totals", {"requests": -1})["requests"])

    def stop(self) -> None:
        if self._origin is not None:
            self._origin.end()
        self.container.stop()
