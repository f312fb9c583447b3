"""A private Pebble: Let's Encrypt's test authority, as strict as it can be made."""

from __future__ import annotations

import base64
import json
import re
import ssl
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerProcess, find_program
from tests.unit.certificates.authority import Authority

ANSWER_SECONDS = 2.0


class Pebble(ServerProcess):
    """
    Every start is a new authority with new roots, and knows no account.

    :ivar ca_file: the CA of its own HTTPS. :ivar directory_url: the ACME directory.
    """

    name = "Pebble"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._program = find_program("pebble")
        self._port, self._management = free_port(), free_port()
        self.directory_url = f"https://localhost:{self._port}/dir"
        authority = Authority()
        authority.write(directory / "own", "localhost")
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
        self._environment: dict[str, str] = {}
        self._dns_port = 0
        self._validity_seconds = 0
        self._began = 0
        self._write(http_port=0, mac_keys={})

    def be(
        self,
        *,
        dns_port: int,
        http_port: int = 0,
        bad_nonces: int = 5,
        alternate_roots: int = 0,
        validity_seconds: int = 0,
        mac_keys: Mapping[str, bytes] | None = None,
    ) -> None:
        """Be a new authority.

        :param dns_port: of the name server that it asks. :param http_port: where it asks for pages.
        :param bad_nonces: of a hundred good ones, how many it refuses.
        :param validity_seconds: of certificates; 0: its default, which is years.
        :param mac_keys: kid -> secret; accounts then need one.
        """
        self._environment = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": str(bad_nonces),
            "PEBBLE_AUTHZREUSE": "0",
            "PEBBLE_ALTERNATE_ROOTS": str(alternate_roots),
        }
        self._dns_port = dns_port
        self._validity_seconds = validity_seconds
        self._write(http_port=http_port, mac_keys=mac_keys or {})
        if self.running:
            self.stop()
        self._began = len(self.log.read_text(errors="replace")) if self.log.exists() else 0
        self.start()

    def _write(self, *, http_port: int, mac_keys: Mapping[str, bytes]) -> None:
        own = self.directory / "own"
        settings = {
            "listenAddress": f"{LOOPBACK}:{self._port}",
            "managementListenAddress": f"{LOOPBACK}:{self._management}",
            "certificate": str(own / "fullchain.pem"),
            "privateKey": str(own / "privkey.pem"),
            "httpPort": http_port,
            "tlsPort": 0,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(mac_keys),
            "externalAccountMACKeys": {
                kid: base64.urlsafe_b64encode(key).rstrip(b"=").decode()
                for kid, key in mac_keys.items()
            },
            "domainBlocklist": ["blocked.example"],
            "certificateValidityPeriod": self._validity_seconds,
        }
        (self.directory / "pebble.json").write_text(json.dumps({"pebble": settings}))

    def command(self) -> list[str]:
        return [
            "env",
            *(f"{name}={value}" for name, value in self._environment.items()),
            self._program,
            "-config",
            str(self.directory / "pebble.json"),
            "-dnsserver",
            f"{LOOPBACK}:{self._dns_port}",
            "-strict",
        ]

    def answers(self) -> bool:
        try:
            return bool(self._get(self.directory_url))
        except OSError:
            return False

    def orders(self) -> int:
        """Return how many orders were placed since it began to be this authority."""
        said = self.log.read_text(errors="replace")
        found = re.findall(r"There are now (\d+) orders in the db", said[self._began :])
        return int(found[-1]) if found else 0

    def accounts(self) -> int:
        """Return how many accounts it has."""
        said = self.log.read_text(errors="replace")
        found = re.findall(r"There are now (\d+) accounts in memory", said[self._began :])
        return int(found[-1]) if found else 0

    def root(self, number: int = 0) -> bytes:
        """Return a root certificate as PEM, number 0 being the one of its first choice."""
        return self._get(f"https://localhost:{self._management}/roots/{number}")

    def _get(self, url: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        # What tests make as an authority has no key usage, which is all that strictness asks for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS, context=context) as response:
            content: bytes = response.read()
        return content
