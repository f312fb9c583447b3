"""DNSSEC from the owner's command to a validator's verdict: the real appliance, and delv."""

from __future__ import annotations

import base64
import json
import re
import stat
from collections.abc import Callable

import pytest

from tests.servers.process import find_program
from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, Twistd, api, dig, run
from tests.system.domains import move_on
from watchducks.model.signing import Phase, Signing

ZONE = "ducks.example"
# A change is one revision of the registry: the feed brings it within a second.
FELT_SECONDS = 5.0


class Owner:
    """The owner of one site, with his command."""

    def __init__(self, appliance: Twistd) -> None:
        self.appliance = appliance
        fields = {
            "name": "ducks",
            "domain": ZONE,
            "origin": "127.0.0.9",
            "email": "o@ducks.example",
        }
        code, site = api("POST", f"{appliance.console}/api/v1/sites", fields)
        assert code == 201, site
        self._token = site["token"]

    def run(self, action: str, *values: str) -> tuple[int, str]:
        """Run `watchducks site ACTION ducks ...`; return its exit code and what it said."""
        command = (BIN / "watchducks", "site", action, "--config", self.appliance.config, "ducks")
        found = run("env", f"WATCHDUCKS_TOKEN={self._token}", *command, *values)
        return found.returncode, found.stdout + found.stderr

    def keys(self) -> list[dict[str, object]]:
        code, document = api("GET", f"{self.appliance.console}/api/v1/sites/ducks/dnssec")
        assert code == 200
        keys: list[dict[str, object]] = document["keys"]
        return keys

    def validated(self, name: str, type_: str = "A") -> str:
        """Return what delv says who trusts the published keys."""
        anchors = "".join(
            f'{ZONE}. static-key 257 3 13 "{key["public_key"]}"; ' for key in self.keys()
        )
        file = self.appliance.directory / "anchor"
        file.write_text(f"trust-anchors {{ {anchors} }};\n")
        port = str(self.appliance.ports["dns"])
        server = ("@127.0.0.1", "-p", port, "-a", str(file), f"+root={ZONE}")
        found = run(find_program("delv"), *server, name, type_)
        return found.stdout + found.stderr

    def until_validated(self, name: str, type_: str = "A") -> None:
        wait_until(
            lambda: "; fully validated" in self.validated(name, type_),
            f"a signed {name} {type_}",
            FELT_SECONDS,
        )


@pytest.mark.timeout(120)
def test_a_zone_is_signed_rolled_and_unsigned(twistd: Callable[..., Twistd]) -> None:
    appliance = twistd()
    appliance.start()
    owner = Owner(appliance)
    database = appliance.data_dir / "registry.sqlite"
    port = appliance.ports["dns"]
    code, said = owner.run("dnssec")
    assert (code, "site set NAME dnssec=on" in said) == (0, True)
    assert dig(port, ZONE, "DNSKEY") == []

    assert owner.run("set", "dnssec=on")[0] == 0
    owner.until_validated(f"www.{ZONE}")
    assert "negative response, fully validated" in owner.validated(f"nothing.{ZONE}")
    code, said = owner.run("dnssec")
    assert "phase  beginning" in said
    assert "\nds" not in said
    code, said = owner.run("roll-keys")
    assert (code, said) == (1, "watchducks: step: This does not fit the phase “beginning”.\n")

    move_on(database, Phase.SIGNED)
    owner.until_validated(ZONE, "CDS")
    code, said = owner.run("dnssec")
    shown = re.search(r"^ds +(\d+ 13 2 [0-9A-F]{64})$", said, re.MULTILINE)
    assert shown, said
    published = "".join(dig(port, ZONE, "CDS"))
    assert published.startswith(shown[1].replace(" ", ""))

    assert owner.run("roll-keys")[0] == 0
    wait_until(lambda: len(dig(port, ZONE, "DNSKEY")) == 2 * 5, "two keys", FELT_SECONDS)
    owner.until_validated(f"www.{ZONE}")
    move_on(database, Phase.REPLACING)
    wait_until(
        lambda: not "".join(dig(port, ZONE, "CDS")).startswith(shown[1].replace(" ", "")),
        "the new key's CDS",
        FELT_SECONDS,
    )
    code, said = owner.run("confirm-ds")
    assert (code, "phase  retiring" in said) == (0, True)
    owner.until_validated(f"www.{ZONE}")

    assert owner.run("set", "dnssec=off")[0] == 0
    wait_until(lambda: dig(port, ZONE, "CDS") == ["0", "0", "0", "00"], "delete", FELT_SECONDS)
    assert "; fully validated" in owner.validated(f"www.{ZONE}")
    code, said = owner.run("confirm-ds")
    assert (code, "phase  ending" in said) == (0, True)
    assert "; fully validated" in owner.validated(f"www.{ZONE}")
    assert "Traceback" not in appliance.log.read_text()


@pytest.mark.timeout(120)
def test_keys_are_sealed_wherever_they_lie(twistd: Callable[..., Twistd]) -> None:
    appliance = twistd()
    appliance.start()
    owner = Owner(appliance)
    key_file = appliance.data_dir / "registry.key"
    assert owner.run("set", "dnssec=on")[0] == 0
    owner.until_validated(f"www.{ZONE}")
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600

    # The last known sites are sealed as well, and are all that is left after this.
    appliance.stop()
    known = json.loads((appliance.data_dir / "state" / "sites.json").read_text())
    signing = Signing.unpack(base64.b64decode(known["sites"][0]["signing"]))
    assert len(signing.keys) == 1
    key_file.rename(key_file.with_name("lost"))
    appliance.start()
    answer = run(
        find_program("dig"),
        *("@127.0.0.1", "-p", str(appliance.ports["dns"]), "+dnssec", f"www.{ZONE}"),
    )
    assert "status: SERVFAIL" in answer.stdout
    assert dig(appliance.ports["dns"], f"www.{ZONE}") == ["127.0.0.1"]
    assert f"security.key_file: cannot read {key_file}" in appliance.log.read_text()
    assert "Traceback" not in appliance.log.read_text()
