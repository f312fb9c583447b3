"""A swap: in which order, and what is left as it was when something goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from watchducks.cli.common import CommandError
from watchducks.cli.proof import NotProven
from watchducks.cli.swap import (
    LEFT_SECONDS,
    PROBATION_SECONDS,
    PROOF_SECONDS,
    TARGET,
    Plan,
    Swap,
    find_staged,
    plan,
    stage,
    unit_of,
)

BLUE, GREEN = unit_of("blue"), unit_of("green")


class FakeUnits:
    """A systemd of two colours that remembers what it was asked to do."""

    def __init__(
        self, active: set[str], enabled: set[str], refuses: tuple[str, str] | None
    ) -> None:
        self.active = active
        self.enabled = enabled
        self.refuses = refuses
        self.done: list[tuple[str, ...]] = []

    def is_active(self, unit: str) -> bool:
        return unit in self.active

    def is_enabled(self, unit: str) -> bool:
        return unit in self.enabled

    def do(self, verb: str, *units: str) -> bool:
        self.done.append((verb, *units))
        if (verb, *units) == self.refuses:
            return False
        {
            "start": self.active.update,
            "stop": self.active.difference_update,
            "enable": self.enabled.update,
            "disable": self.enabled.difference_update,
        }.get(verb, list)(units)
        return True

    def journal(self, unit: str, lines: int) -> str:
        return f"the log of {unit}"


class World:
    """One host. ``proofs`` has what each proof brings; when they are used up, all is well."""

    def __init__(
        self,
        active: set[str],
        enabled: set[str],
        proofs: list[BaseException | None] | None = None,
        refuses: tuple[str, str] | None = None,
    ) -> None:
        self.units = FakeUnits(active, enabled, refuses)
        self.proofs = proofs or []
        self.proven = 0
        self.seconds = 0.0
        self.dies: set[str] = set()
        self.dies_after = 0
        self.pid = 7

    def swap(self, *, back: bool = False) -> None:
        Swap(
            self.units,
            stage=lambda colour: self.units.done.append(("stage", colour)),
            ask=lambda colour: {"instance": colour, "version": "9", "pid": self.pid},
            prove=self.prove,
            now=lambda: self.seconds,
            pause=self.pause,
        ).run(back=back)

    def prove(self, told: dict[str, Any]) -> None:
        self.proven += 1
        self.pid += self.proven == self.dies_after
        problem = self.proofs.pop(0) if self.proofs else None
        if problem is not None:
            raise problem

    def pause(self, seconds: float) -> None:
        self.seconds += seconds
        self.units.active -= self.dies


@pytest.mark.parametrize(
    ("active", "enabled", "expected"),
    [
        ((), (), Plan("blue", ())),
        ((), ("green",), Plan("green", ())),
        (("blue",), ("blue",), Plan("green", ("blue",))),
        (("green",), ("green",), Plan("blue", ("green",))),
        (("green",), (), Plan("blue", ("green",))),
        (("blue", "green"), ("green",), Plan("blue", ("green", "blue"))),
        (("blue", "green"), ("blue", "green"), Plan("green", ("blue", "green"))),
    ],
)
def test_the_colour_that_does_not_count_is_started(
    active: tuple[str, ...], enabled: tuple[str, ...], expected: Plan
) -> None:
    assert plan(active, enabled) == expected


@pytest.mark.parametrize(
    ("active", "enabled", "expected"),
    [
        (("green",), ("green",), Plan("blue", ("green",))),
        ((), ("green",), Plan("blue", ("green",))),
        ((), (), Plan("blue", ())),
    ],
)
def test_the_way_back_leads_to_the_other_colour_even_from_one_that_has_failed(
    active: tuple[str, ...], enabled: tuple[str, ...], expected: Plan
) -> None:
    assert plan(active, enabled, back=True) == expected


def test_the_old_colour_is_stopped_when_the_new_one_has_proven_itself() -> None:
    world = World({BLUE}, {BLUE}, proofs=[NotProven("not yet"), NotProven("nor now")])
    world.swap()
    assert world.units.done == [
        ("stage", "green"),
        ("reset-failed", GREEN),
        ("start", GREEN),
        ("enable", GREEN),
        ("disable", BLUE),
        ("stop", BLUE),
        ("kill", "--signal=TERM", BLUE),
        ("kill", "--signal=KILL", BLUE),
    ]
    whole = PROBATION_SECONDS + LEFT_SECONDS
    assert whole <= world.seconds < whole + 1


def test_an_answer_that_does_not_come_once_is_waited_for() -> None:
    world = World({BLUE}, {BLUE})
    world.proofs = [None, None, NotProven("too busy")]
    world.swap()
    assert world.units.active == {GREEN}
    assert world.seconds > PROBATION_SECONDS + LEFT_SECONDS + 2 * 0.2


def test_one_that_was_ready_and_died_is_stopped_with_what_it_left_and_the_old_one_stays() -> None:
    world = World({BLUE}, {BLUE})
    world.dies_after = 5
    with pytest.raises(CommandError, match=rf"(?s)green was ready, and died.*the log of {GREEN}"):
        world.swap()
    assert (world.units.active, world.units.enabled) == ({BLUE}, {BLUE})
    assert world.units.done[-4:] == [
        ("stop", GREEN),
        ("kill", "--signal=TERM", GREEN),
        ("kill", "--signal=KILL", GREEN),
        ("reset-failed", GREEN),
    ]


def test_with_nothing_running_the_sockets_are_opened_too() -> None:
    world = World(set(), set())
    world.swap()
    assert world.units.active == {TARGET, BLUE}
    assert world.units.enabled == {BLUE}


@pytest.mark.parametrize("error", [NotProven("http: 500"), OSError("nobody is there")])
def test_one_that_does_not_do_its_work_is_stopped_and_the_old_one_stays(error: Exception) -> None:
    world = World({BLUE}, {BLUE}, proofs=[error] * 1000)
    with pytest.raises(CommandError, match=rf"(?s)does not work \({error}\).*the log of {GREEN}"):
        world.swap()
    assert world.units.active == {BLUE}
    assert world.units.enabled == {BLUE}
    whole = PROOF_SECONDS + LEFT_SECONDS
    assert whole < world.seconds < whole + 1


def test_one_that_does_not_start_is_not_asked() -> None:
    world = World({BLUE}, {BLUE}, refuses=("start", GREEN))
    with pytest.raises(CommandError, match="green does not start"):
        world.swap()
    assert (world.units.active, world.proven) == ({BLUE}, 0)
    assert ("reset-failed", GREEN) in world.units.done


def test_one_that_dies_is_not_waited_for() -> None:
    world = World({BLUE}, {BLUE}, proofs=[OSError("gone")] * 1000)
    world.dies = {GREEN}
    with pytest.raises(CommandError, match="gone"):
        world.swap()
    assert world.proven == 2


def test_what_an_earlier_swap_left_is_stopped_first() -> None:
    world = World({BLUE, GREEN}, {BLUE})
    world.swap()
    assert world.units.done[:4] == [
        ("stop", GREEN),
        ("kill", "--signal=TERM", GREEN),
        ("kill", "--signal=KILL", GREEN),
        ("stage", "green"),
    ]
    assert world.units.active == {GREEN}


def test_ctrl_c_leaves_the_old_colour_alone() -> None:
    world = World({BLUE}, {BLUE}, proofs=[KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        world.swap()
    assert (world.units.active, world.units.enabled) == ({BLUE}, {BLUE})


def test_a_copy_keeps_its_files_when_another_version_is_installed(tmp_path: Path) -> None:
    package, colour = tmp_path / "package", tmp_path / "blue"
    (package / "lib").mkdir(parents=True)
    (package / "lib" / "module.py").write_text("old")
    (package / "python").symlink_to("/usr/bin/python3")
    colour.mkdir()
    (colour / "leftover.py").write_text("older")
    stage(package, colour)
    assert sorted(path.name for path in colour.iterdir()) == ["lib", "python"]
    assert (colour / "python").is_symlink()
    assert (colour / "lib" / "module.py").samefile(package / "lib" / "module.py")
    # As pip and dpkg do.
    (package / "lib" / "module.py").unlink()
    (package / "lib" / "module.py").write_text("new")
    assert (colour / "lib" / "module.py").read_text() == "old"


def test_a_copy_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot copy"):
        stage(tmp_path / "absent", tmp_path / "blue")


def test_there_has_to_be_something_to_go_back_to(tmp_path: Path) -> None:
    find_staged(tmp_path)
    with pytest.raises(CommandError, match=r"nothing in .*absent to go back to"):
        find_staged(tmp_path / "absent")
