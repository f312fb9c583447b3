"""What a protocol may rely on must hold on the stock reactor as well, or we invented it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.epollreactor import EPollReactor

from tests.reactor.turning import Turning
from watchducks.reactor import FastEPollReactor


@pytest.fixture(params=[EPollReactor, FastEPollReactor], ids=["stock", "ours"])
def either(request: pytest.FixtureRequest) -> Iterator[Turning]:
    """The stock reactor, then ours."""
    turning = Turning(request.param())
    yield turning
    turning.close()


@pytest.fixture
def ours() -> Iterator[Turning]:
    turning = Turning(FastEPollReactor())
    yield turning
    turning.close()
