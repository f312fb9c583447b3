"""`watchducks token`: what makes no sense together is told before anything is asked."""

from __future__ import annotations

from typing import cast

import pytest
from twisted.internet.defer import Deferred

from watchducks.cli.command import _parser
from watchducks.cli.common import CommandError


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["make"], "name its LABEL"),
        (["revoke"], "name its NUMBER"),
        (["list", "reader"], "what is reader for?"),
        (["--site", "ducks"], "--scope and --site are for"),
        (["list", "--scope", "read"], "--scope and --site are for"),
        (["--url", "http://console.example"], "on the host of the registry"),
    ],
)
def test_what_makes_no_sense_is_told(arguments: list[str], told: str) -> None:
    options = _parser().parse_args(["token", *arguments])
    failed = cast(Deferred[int], Deferred.fromCoroutine(options.run(None, options)))
    with pytest.raises(CommandError, match=told):
        failed.result.raiseException()  # type: ignore[attr-defined]
    _ = failed.addErrback(lambda _: None)
