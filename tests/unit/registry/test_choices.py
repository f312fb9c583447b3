"""A site's choices: each value as JSON and as text, and what does not go together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.registry.test_registration import POLICY
from watchducks.model.problems import InvalidFields
from watchducks.model.sites import DEFAULT_CHOICES, SiteChoices
from watchducks.registry.choices import CHOICES, MAX_HSTS_SECONDS
from watchducks.registry.registration import SiteChanges, chosen, validate_changes

PIN = "0123456789abcdef" * 4
PINNED = SiteChoices("pinned", PIN)


@pytest.mark.parametrize(
    ("field", "given", "value"),
    [
        ("origin_tls", "pinned", "pinned"),
        ("origin_tls", " OFF ", "off"),
        ("origin_pin", PIN, PIN),
        ("origin_pin", ":".join(PIN[i : i + 2] for i in range(0, 64, 2)).upper(), PIN),
        ("origin_pin", "", ""),
        ("redirect_to_https", True, True),
        ("redirect_to_https", False, False),
        ("redirect_to_https", "yes", True),
        ("redirect_to_https", "false", False),
        ("hsts_seconds", 0, 0),
        ("hsts_seconds", "31536000", 31_536_000),
        ("hsts_seconds", MAX_HSTS_SECONDS, MAX_HSTS_SECONDS),
        ("keep_networks", "on", True),
        ("honour_gpc", True, True),
        ("ranked", "no", False),
        ("query_parameters", " q, page  filter[x] q", "q page filter[x]"),
        ("query_parameters", "", ""),
        ("query_parameters", "a" * 64 + " " + "b" * 64, "a" * 64 + " " + "b" * 64),
    ],
)
def test_values_come_as_json_or_as_text(field: str, given: object, value: object) -> None:
    changes = validate_changes({field: given}, POLICY)
    assert getattr(changes, field) == value
    assert type(getattr(changes, field)) is type(value)
    others = {name: getattr(changes, name) for name in SiteChanges.__slots__ if name != field}
    assert set(others.values()) == {None}


@pytest.mark.parametrize(
    ("field", "given", "code"),
    [
        ("origin_tls", "", "origin-tls"),
        ("origin_tls", "Verified", "origin-tls"),
        ("origin_tls", None, "origin-tls"),
        ("origin_tls", True, "origin-tls"),
        ("origin_pin", PIN[:-1], "origin-pin"),
        ("origin_pin", PIN + "0", "origin-pin"),
        ("origin_pin", PIN[:-1] + "g", "origin-pin"),
        ("origin_pin", "x" * 100_000, "origin-pin"),
        ("origin_pin", 5, "origin-pin"),
        ("redirect_to_https", "maybe", "boolean"),
        ("redirect_to_https", 1, "boolean"),
        ("redirect_to_https", None, "boolean"),
        ("hsts_seconds", -1, "hsts"),
        ("hsts_seconds", MAX_HSTS_SECONDS + 1, "hsts"),
        ("hsts_seconds", "9" * 10_000, "hsts"),
        ("hsts_seconds", "\u0663", "hsts"),
        ("hsts_seconds", "1.5", "hsts"),
        ("hsts_seconds", 1.0, "hsts"),
        ("hsts_seconds", True, "hsts"),
        ("hsts_seconds", [], "hsts"),
        ("keep_networks", "maybe", "boolean"),
        ("ranked", None, "boolean"),
        ("query_parameters", None, "query-parameters"),
        ("query_parameters", ["q"], "query-parameters"),
        ("query_parameters", "a=b", "query-parameters"),
        ("query_parameters", "caf\u00e9", "query-parameters"),
        ("query_parameters", "a" * 65, "query-parameters"),
        ("query_parameters", " ".join(f"name-{n}" for n in range(40)), "query-parameters"),
        ("query_parameters", "a " * 100_000, "query-parameters"),
    ],
)
def test_what_is_not_accepted(field: str, given: Any, code: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        validate_changes({field: given}, POLICY)
    assert {name: problem.code for name, problem in caught.value.problems.items()} == {field: code}


def test_every_choice_can_be_asked_for() -> None:
    assert set(CHOICES) == set(SiteChoices.__slots__)
    assert set(CHOICES) < set(SiteChanges.__slots__)


def test_changes_meet_what_the_site_has() -> None:
    assert chosen(PINNED, SiteChanges()) == PINNED
    assert chosen(PINNED, SiteChanges(hsts_seconds=9)) == SiteChoices("pinned", PIN, False, 9)
    assert chosen(DEFAULT_CHOICES, SiteChanges(origin_tls="pinned", origin_pin=PIN)) == PINNED
    private = SiteChoices(keep_networks=True, query_parameters="q", honour_gpc=True, ranked=False)
    assert chosen(private, SiteChanges(hsts_seconds=9)) == replace(private, hsts_seconds=9)
    assert chosen(PINNED, SiteChanges(origin_pin="ab" * 32)) == SiteChoices("pinned", "ab" * 32)
    # The pin ends with its use, so that nobody is surprised by an old one later.
    assert chosen(PINNED, SiteChanges(origin_tls="off")) == SiteChoices("off")
    assert chosen(PINNED, SiteChanges(origin_tls="verify", origin_pin="")) == DEFAULT_CHOICES


@pytest.mark.parametrize(
    ("before", "changes", "code"),
    [
        (DEFAULT_CHOICES, SiteChanges(origin_tls="pinned"), "pin-missing"),
        (PINNED, SiteChanges(origin_pin=""), "pin-missing"),
        (DEFAULT_CHOICES, SiteChanges(origin_pin=PIN), "pin-unused"),
        (PINNED, SiteChanges(origin_tls="off", origin_pin=PIN), "pin-unused"),
    ],
)
def test_what_does_not_go_together(before: SiteChoices, changes: SiteChanges, code: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        chosen(before, changes)
    assert [problem.code for problem in caught.value.problems.values()] == [code]
    assert list(caught.value.problems) == ["origin_pin"]
