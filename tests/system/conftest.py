"""What the system tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.servers.nsd import Nsd
from tests.servers.unbound import Unbound
from tests.system import domains
from tests.system.appliance import Twistd
from tests.system.origin import Origin


@pytest.fixture
def twistd(tmp_path: Path) -> Iterator[Callable[..., Twistd]]:
    """Make appliances; those that still run at the end are stopped."""
    made: list[Twistd] = []

    def make(settings: Mapping[str, Mapping[str, Any]] | None = None, name: str = "a") -> Twistd:
        made.append(Twistd(tmp_path / name, settings))
        return made[-1]

    yield make
    for one in reversed(made):
        one.stop()


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A web server at 127.0.0.2."""
    with Origin() as running:
        yield running


@pytest.fixture
def old_and_parent(
    tmp_path_factory: pytest.TempPathFactory, unbound: Unbound
) -> Iterator[tuple[Nsd, Nsd]]:
    """The old name server of ducks.test, and its parent's."""
    with domains.old_and_parent(lambda: tmp_path_factory.mktemp("nsd"), unbound) as servers:
        yield servers
