from __future__ import annotations

import pytest

from watchducks.model.content_types import _KEPT_TYPES, CONTENT_TRAITS
from watchducks.model.rows import IS_ASSET, IS_OTHER, IS_PAGE


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
