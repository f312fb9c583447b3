"""Two instances on the same data: each answers at doors of its own, and one ships for both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, Twistd, curl_through, run
from tests.system.origin import Origin
from watchducks.cli import local, proof
from watchducks.instances import control_file


class Instance(Twistd):
    """An appliance with a name, on the data of ``data_dir``."""

    def __init__(self, directory: Path, name: str, data_dir: Path) -> None:
        # Fresh enough for a test to wait for.
        super().__init__(directory / name, {"logs": {"flush_seconds": 0.2}})
        self.data_dir = data_dir
        self.instance = name

    def command(self) -> list[str]:
        return [*super().command(), f"--instance={self.instance}"]

    def answers(self) -> bool:
        try:
            told = local.ask(control_file(self.data_dir, self.instance))
        except OSError:
            return False
        return bool(told["checks"]["started"])


@pytest.fixture
def instances(tmp_path: Path) -> Iterator[tuple[Instance, Instance]]:
    made = (
        Instance(tmp_path, "blue", tmp_path / "data"),
        Instance(tmp_path, "green", tmp_path / "data"),
    )
    yield made
    for one in made:
        one.stop()


@pytest.mark.timeout(150)
def test_one_takes_over_from_the_other(
    instances: tuple[Instance, Instance], origin: Origin
) -> None:
    blue, green = instances
    blue.start()
    added = run(
        *(BIN / "watchducks", "site", "add", "ducks", "www.ducks.example", origin.url),
        *("a@ducks.example", "--url", blue.console),
    )
    assert added.returncode == 0, added.stderr
    green.start()
    for one in instances:
        told = local.ask(control_file(one.data_dir, one.instance))
        assert (told["instance"], told["pid"]) == (one.instance, one.pid)
        proof.prove(told, "ns1.watchducks.example")

    def shipped(one: Instance) -> float:
        told = local.ask(control_file(one.data_dir, one.instance))
        return float(told["measures"]["watchducks_rows_shipped_total"])

    url = "http://www.ducks.example:{}/"
    for one in instances:
        assert curl_through(one.proxy, url.format(one.ports["http"])).returncode == 0
    # chDB and the lock are blue's: it ships what both have spooled.
    wait_until(lambda: shipped(blue) == 2, "blue to ship both rows", 30)
    assert shipped(green) == 0
    status = run(BIN / "watchducks", "status", "--config", blue.config)
    assert "instance  blue" in status.stdout
    assert "instance  green" in status.stdout
    assert status.stdout.count("certificate folders  0") == 2
    blue.kill()
    assert curl_through(green.proxy, url.format(green.ports["http"])).returncode == 0
    wait_until(lambda: shipped(green) == 1, "green to take over", 60)
    status = run(BIN / "watchducks", "status", "--config", blue.config)
    assert "blue      \n" not in status.stdout
    assert "does not answer" in status.stdout
