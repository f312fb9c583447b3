from __future__ import annotations

import pytest

from watchducks.model.rows import (
    ASKS,
    ASKS_ASSET,
    ASKS_OTHER,
    ASKS_PAGE,
    IS,
    NO_TRACKING,
)
from watchducks.proxy.traits import traits_of_request


@pytest.mark.parametrize(
    ("fields", "traits"),
    [
        ({}, 0),
        ({b"sec-gpc": [b"1"]}, NO_TRACKING),
        ({b"dnt": [b"1"]}, NO_TRACKING),
        ({b"dnt": [b"0"], b"sec-gpc": [b"1"]}, NO_TRACKING),
        ({b"dnt": [b"0"]}, 0),
        ({b"sec-fetch-dest": [b"document"]}, ASKS_PAGE),
        ({b"sec-fetch-dest": [b"image"]}, ASKS_ASSET),
        ({b"sec-fetch-dest": [b"iframe"]}, ASKS_OTHER),
        ({b"sec-fetch-dest": [b"empty"], b"sec-gpc": [b"1"]}, ASKS_OTHER | NO_TRACKING),
        ({b"sec-fetch-dest": [b""]}, 0),
    ],
)
def test_what_a_request_says(fields: dict[bytes, list[bytes]], traits: int) -> None:
    assert traits_of_request(fields) == traits


def test_the_two_kinds_do_not_overlap() -> None:
    assert ASKS & IS == ASKS & NO_TRACKING == IS & NO_TRACKING == 0
    assert {ASKS_PAGE, ASKS_ASSET, ASKS_OTHER} | {ASKS} == {ASKS_PAGE, ASKS_ASSET, ASKS}
