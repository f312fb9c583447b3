"""Schemas of dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest

from watchducks.console.shapes import COUNT, TEXT, joined, nullable, of, one_of, record


@dataclass(frozen=True)
class Inner:
    word: Literal["a", "b"]


@dataclass(frozen=True)
class Outer:
    points: tuple[Inner, ...]
    rate: float | None
    counts: Mapping[str, int]


def test_a_dataclass_becomes_an_object() -> None:
    schema = of(Outer)
    assert schema["required"] == ["points", "rate", "counts"]
    assert schema["properties"] == {
        "points": {"type": "array", "items": record({"word": one_of("a", "b")})},
        "rate": {"type": ["number", "null"]},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
    }
    with pytest.raises(TypeError, match="bytes"):
        of(bytes)


def test_a_choice_may_be_null_as_a_whole() -> None:
    # "enum" would forbid the null that "type" allows.
    assert nullable(one_of("a")) == {"anyOf": [one_of("a"), {"type": "null"}]}


def test_joined_objects_have_the_properties_of_all() -> None:
    both = joined(record({"a": TEXT}, {"b": TEXT}), record({"c": COUNT}))
    assert set(both["properties"]) == {"a", "b", "c"}
    assert both["required"] == ["a", "c"]
