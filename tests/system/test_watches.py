"""What is watched in the background after a zone has come: names it lacks, and its parent's DS.

A clock of days is moved on in the registry, and those of minutes run at another :class:`Pace`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.nsd import Nsd
from tests.servers.process import find_program
from tests.servers.unbound import Unbound
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd, api, dig, run
from tests.system.domains import DELEGATED, DUCKS, LOOK_SECONDS, PARENT, PORT, Console, move_on
from tests.system.paced import PacedTwistd
from watchducks.appliance.pace import Pace
from watchducks.model.signing import Phase

# Several turns of what is made to look each second, beside the feed and seven other programs.
FELT_SECONDS = 20.0

PACE = Pace(parents_seconds=0.5, missing_seconds=0.5, again_seconds=0.5)


class Owner:
    """The owner of ducks.test, whose name servers are ours by now."""

    def __init__(self, running: Twistd, parent: Nsd) -> None:
        self._running = running
        self._parent = parent
        console = Console(running)
        self._url = f"{running.console}/api/v1/sites/ducks"
        self._token = console.register("ducks", "192.0.2.80")
        wait_until(lambda: self.get("/scan").get("made"), "the scan", LOOK_SECONDS)
        parent.serve({"test": DELEGATED})
        console.look("ducks", self._token)
        console.becomes("ducks", "delegated")

    def get(self, path: str) -> Any:
        code, document = api("GET", self._url + path, token=self._token)
        assert code == 200, document
        return document

    def send(self, method: str, path: str, body: object) -> Any:
        code, document = api(method, self._url + path, body, self._token)
        assert code == 200, document
        return document

    def phase(self) -> str:
        phase: str = self.get("/dnssec")["phase"]
        return phase

    def parent_has(self, ds: list[str]) -> None:
        """Have the registrar give the parent these DS records, and no others."""
        self._parent.serve({"test": DELEGATED + "".join(f"ducks DS {one}\n" for one in ds)})

    def validated(self) -> bool:
        """Tell whether delv, who trusts the DS that the parent gives, finds what we answer good."""
        asked = run(
            find_program("dig"), f"@{PARENT}", "-p", str(PORT), "+short", "ducks.test", "DS"
        )
        fields = [line.split() for line in asked.stdout.splitlines()]
        anchors = "".join(
            f'ducks.test. static-ds {" ".join(one[:3])} "{"".join(one[3:])}"; ' for one in fields
        )
        file = self._running.directory / "anchor"
        file.write_text(f"trust-anchors {{ {anchors} }};\n")
        server = ("@127.0.0.1", "-p", str(self._running.ports["dns"]), "+root=ducks.test")
        found = run(find_program("delv"), *server, "-a", file, "www.ducks.test", "A")
        return bool(fields) and "; fully validated" in found.stdout

    def move_on(self, phase: Phase) -> None:
        move_on(self._running.data_dir / "registry.sqlite", phase)
        self.until(phase)

    def until(self, phase: Phase) -> None:
        name = phase.name.lower()
        wait_until(lambda: self.phase() == name, f"the phase {name}", FELT_SECONDS)


@pytest.fixture(params=[0])
def paced(request: pytest.FixtureRequest, tmp_path: Path, unbound: Unbound) -> Iterator[Twistd]:
    """An appliance with so many workers."""
    running = PacedTwistd(
        tmp_path / "paced",
        {
            "node": {
                "roles": ["console", "nameserver"],
                "workers": request.param,
                "resolvers": [f"{unbound.address}:{unbound.port}"],
            },
            "security": {"require_delegation": True},
        },
        PACE,
    )
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("paced", [2], indirect=True)
def test_a_forgotten_name_is_offered_and_then_answered(
    old_and_parent: tuple[Nsd, Nsd], paced: Twistd
) -> None:
    old, parent = old_and_parent
    # A name that no scan guesses.
    old.serve({"ducks.test": DUCKS + "pond-7 A 192.0.2.77\npond-7 TXT here\n"})
    owner = Owner(paced, parent)
    port = paced.ports["dns"]
    assert owner.get("/records/offers")["records"] == []
    # Each question of another type: what is asked again alike is answered by what is ready.
    types = itertools.count(65_281)

    def offered() -> Any:
        assert dig(port, "pond-7.ducks.test", f"TYPE{next(types)}") == []
        return owner.get("/records/offers")["records"]

    found = wait_until(offered, "an offer", FELT_SECONDS)
    assert [(one["name"], one["type"], one["value"]) for one in found] == [
        ("pond-7", "A", "192.0.2.77"),
        ("pond-7", "TXT", '"here"'),
    ]
    held = owner.get("/records")["records"]
    owner.send("PUT", "/records", {"records": [*held, *found]})
    wait_until(
        lambda: dig(port, "pond-7.ducks.test", "A") == ["192.0.2.77"], "the record", FELT_SECONDS
    )
    assert owner.get("/records/offers")["records"] == []
    assert "Traceback" not in paced.log.read_text()


@pytest.mark.timeout(120)
def test_what_the_parent_did_needs_no_confirmation(
    old_and_parent: tuple[Nsd, Nsd], paced: Twistd
) -> None:
    owner = Owner(paced, old_and_parent[1])
    owner.send("PATCH", "", {"dnssec": True})
    owner.move_on(Phase.SIGNED)
    first = owner.get("/dnssec")["ds"]
    owner.parent_has(first)
    wait_until(owner.validated, "a chain from the parent's DS", FELT_SECONDS)

    owner.send("POST", "/dnssec", {"step": "roll"})
    owner.move_on(Phase.REPLACING)
    second = owner.get("/dnssec")["ds"]
    assert second != first
    # The parent has the old DS: that key signs the set of both, and the new one everything else.
    assert owner.validated()
    owner.parent_has(second)
    owner.until(Phase.RETIRING)
    wait_until(owner.validated, "the new key's chain", FELT_SECONDS)

    owner.send("PATCH", "", {"dnssec": False})
    owner.until(Phase.WITHDRAWING)
    assert owner.validated()
    owner.parent_has([])
    owner.until(Phase.ENDING)
    assert "Traceback" not in paced.log.read_text()
