"""What has been started is not looked at again by the garbage collector."""

from __future__ import annotations

import gc

from watchducks import garbage


def test_what_is_there_is_not_looked_at_again_and_what_comes_later_is_rarely() -> None:
    before = gc.get_threshold()
    try:
        garbage.settle()
        assert gc.get_freeze_count() > 10_000
        assert len(gc.get_objects()) < 1000
        assert gc.get_threshold()[0] >= 2_000
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
