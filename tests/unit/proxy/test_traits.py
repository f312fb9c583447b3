from __future__ import annotations

import pytest

from watchducks.model.rows import (
    ASKS,
    ASKS_ASSET,
    ASKS_OTHER,
    ASKS_PAGE,
    IS,
    IS_ASSET,
    IS_OTHER,
    IS_PAGE,
    NO_TRACKING,
)
from watchducks.proxy.traits import _KEPT_TYPES, CONTENT_TRAITS, traits_of_request


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


@pytest.mark.parametrize(
    ("value", "traits"),
    [
        (b"text/html", IS_PAGE),
        (b"Text/HTML;charset=utf-8", IS_PAGE),
        (b"application/xhtml+xml", IS_PAGE),
        (b"image/png", IS_ASSET),
        (b"font/woff2", IS_ASSET),
        (b"text/css; charset=utf-8", IS_ASSET),
        (b"application/json", IS_OTHER),
        (b"text/event-stream", IS_OTHER),
        (b"nonsense", IS_OTHER),
        (b"", 0),
    ],
)
def test_what_an_answer_says(value: bytes, traits: int) -> None:
    for _ in range(2):
        assert CONTENT_TRAITS[value] == traits


def test_invented_types_are_not_kept_without_bound() -> None:
    for number in range(2 * _KEPT_TYPES):
        assert CONTENT_TRAITS[b"text/html;n=%d" % number] == IS_PAGE
    assert CONTENT_TRAITS[b"image/" + b"x" * 1000] == IS_ASSET
    assert len(CONTENT_TRAITS) <= _KEPT_TYPES


def test_the_two_kinds_do_not_overlap() -> None:
    assert ASKS & IS == ASKS & NO_TRACKING == IS & NO_TRACKING == 0
    assert {ASKS_PAGE, ASKS_ASSET, ASKS_OTHER} | {ASKS} == {ASKS_PAGE, ASKS_ASSET, ASKS}
