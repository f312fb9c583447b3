"""A host as an administrator has it: Debian, our package, a site, and visitors who never pause."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from tests.servers.container import ADDRESS, Container, run
from tests.servers.waiting import wait_until
from tests.system import steady

DOMAIN: Final = "www.ducks.example"
# Beside the appliance, on loopback; what it is registered with.
ORIGIN: Final = "127.0.0.2"
INSTALL_SECONDS: Final = 180
# A slow download and a WebSocket may end first.
SWAP_SECONDS: Final = 120
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


class Visitors(steady.Visitors):
    """Visitors of a container's appliance."""

    def __init__(self, container: Container, *options: str) -> None:
        super().__init__(ADDRESS, DOMAIN, *options, beside=container.beside)


class Host:
    """:ivar container: where it runs."""

    def __init__(self, directory: Path, package: Path) -> None:
        self.container = Container(directory)
        self._package = package
        self._origin: steady.Beside | None = None

    def start(self) -> None:
        """Boot, install the package, and register the site."""
        container = self.container
        container.start()
        # Half a gigabyte that the container borrows from the test run.
        self.drop_in("chdb", "[Service]\nEnvironment=PYTHONPATH=/opt/chdb\n")
        shutil.copy(self._package, container.root / "var/tmp")
        said = container.must(
            "dpkg", "--install", f"/var/tmp/{self._package.name}", seconds=INSTALL_SECONDS
        )
        assert "blue runs version" in said, said
        for before, after in _CHANGES:
            self.configure(before, after)
        container.must("systemctl", "restart", "watchducks.service")
        self.restart_origin()
        self.watchducks("site", "add", "ducks", DOMAIN, f"http://{ORIGIN}:8080", "a@ducks.example")
        self.certify()

    def configure(self, before: str, after: str) -> None:
        """Change the configuration file, for whoever starts next."""
        config = self.container.root / "etc/watchducks/watchducks.toml"
        text = config.read_text()
        assert before in text
        config.write_text(text.replace(before, after))

    def drop_in(self, name: str, content: str) -> None:
        """Make a drop-in for both colours; one that is empty is removed."""
        path = self.container.root / f"etc/systemd/system/watchducks@.service.d/{name}.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        if content:
            path.write_text(content)
        else:
            path.unlink()
        self.container.must("systemctl", "daemon-reload")

    def restart_origin(self) -> None:
        """Start the site's own server, again if it is there."""
        if self._origin is not None:
            self._origin.end()
        self._origin = steady.Beside(ORIGIN, "--origin", "8080", beside=self.container.beside)

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

    def edges(self) -> list[int]:
        """Return the process ids, in the container, of all workers there are."""
        found = self.container.execute("sh", "-c", "grep -ls ^ducks-edge /proc/[0-9]*/comm").stdout
        return sorted(int(path.split("/")[2]) for path in found.split())

    def enabled(self) -> str:
        """Return the colour that counts."""
        (colour,) = (
            colour
            for colour in ("blue", "green")
            if self.container.execute(
                "systemctl", "is-enabled", "--quiet", f"watchducks@{colour}"
            ).returncode
            == 0
        )
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
