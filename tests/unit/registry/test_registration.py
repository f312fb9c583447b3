"""The one validation: every problem of every field, and never anything but problems."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.model.origins import parse_origin
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import Registration
from watchducks.registry.registration import (
    FIELDS,
    MAX_FIELD_CHARACTERS,
    MAX_UNKNOWN_FIELDS,
    Policy,
    SiteChanges,
    validate,
    validate_changes,
    validate_field,
)

OWN = ipaddress.ip_address("198.51.100.1")
POLICY = Policy(own_addresses={OWN}, allow_private_origins=False)
CLOSED = Policy(own_addresses={OWN}, allow_private_origins=True)
GOOD = {
    "name": " Ducks ",
    "domain": "WWW.Ducks.example.",
    "origin": "https://203.0.113.7",
    "email": "Owner@Mail.example",
    "cohort": "4기",
}


def problems(fields: dict[str, Any], policy: Policy = POLICY) -> dict[str, str]:
    with pytest.raises(InvalidFields) as caught:
        validate(fields, policy)
    return {field: problem.code for field, problem in caught.value.problems.items()}


def test_good_fields_become_a_registration() -> None:
    assert validate(GOOD, POLICY) == Registration(
        name="Ducks",
        domain="www.ducks.example",
        origin=parse_origin("https://203.0.113.7"),
        email="Owner@mail.example",
        cohort="4기",
    )


@pytest.mark.parametrize("cohort", [{}, {"cohort": ""}, {"cohort": "  "}])
def test_a_cohort_may_be_left_out(cohort: dict[str, str]) -> None:
    fields = {field: value for field, value in GOOD.items() if field != "cohort"}
    assert validate({**fields, **cohort}, POLICY).cohort == "default"


def test_all_problems_are_told_in_the_order_of_the_form() -> None:
    found = problems({"extra": 1, "cohort": "a b", "origin": "x", "name": "", "domain": "com"})
    assert list(found.items()) == [
        ("name", "empty"),
        ("domain", "single-label"),
        ("origin", "origin"),
        ("email", "missing"),
        ("cohort", "characters"),
        ("extra", "unknown-field"),
    ]


@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], ["a"], {}, {"a": "b"}, b"a"])
@pytest.mark.parametrize("field", FIELDS)
def test_only_text_is_accepted(field: str, value: object) -> None:
    assert problems({**GOOD, field: value}) == {field: "type"}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("x" * (MAX_FIELD_CHARACTERS + 1), "too-long"),
        ("a\0b", "control-characters"),
        ("a\nb", "control-characters"),
        ("\ud800", "control-characters"),
        ("a\x7fb", "control-characters"),
    ],
)
@pytest.mark.parametrize("field", FIELDS)
def test_what_no_field_accepts(field: str, value: str, code: str) -> None:
    assert problems({**GOOD, field: value}) == {field: code}


def test_nothing_at_all() -> None:
    assert problems({}) == dict.fromkeys(("name", "domain", "origin", "email"), "missing")


def test_unknown_fields_are_told_but_not_without_end() -> None:
    found = problems({**GOOD, **{f"x{number}": "" for number in range(1000)}})
    assert len(found) == MAX_UNKNOWN_FIELDS
    (name,) = problems({**GOOD, "\ud800<b>" + "y" * 10_000: ""})
    assert len(name) < 100
    name.encode()


@pytest.mark.parametrize(
    ("origin", "code"),
    [("10.0.0.1", "reserved-address"), ("198.51.100.1", "own-address"), ("a b", "origin")],
)
def test_origins_are_checked(origin: str, code: str) -> None:
    assert problems({**GOOD, "origin": origin}) == {"origin": code}


@pytest.mark.parametrize("origin", ["www.ducks.example", "https://Ducks.example:8443"])
def test_a_site_is_not_behind_itself(origin: str) -> None:
    assert problems({**GOOD, "origin": origin}) == {"origin": "own-host"}
    inner = {**GOOD, "domain": "shop.ducks.example", "zone": "ducks.example"}
    assert problems({**inner, "origin": origin}) == {"origin": "own-host"}
    assert problems({**inner, "origin": "shop.ducks.example"}) == {"origin": "own-host"}
    assert validate({**GOOD, "origin": "origin.ducks.example"}, POLICY).origin.name


def test_a_closed_network_has_its_own_rules() -> None:
    fields = {**GOOD, "origin": "127.0.0.1:8080", "domain": "ducks.lan"}
    assert problems(fields) == {"origin": "reserved-address", "domain": "unknown-suffix"}
    assert validate(fields, CLOSED).domain == "ducks.lan"


def test_changes() -> None:
    assert validate_changes({}, POLICY) == SiteChanges()
    assert validate_changes({"origin": "203.0.113.9", "cohort": ""}, POLICY) == SiteChanges(
        origin=parse_origin("203.0.113.9"), cohort="default"
    )
    with pytest.raises(InvalidFields) as caught:
        validate_changes({"name": "a", "domain": "b.example", "email": None, "x": 1}, POLICY)
    assert {field: problem.code for field, problem in caught.value.problems.items()} == {
        "name": "unchangeable",
        "domain": "unchangeable",
        "email": "type",
        "x": "unknown-field",
    }


def test_one_field_while_it_is_typed() -> None:
    assert validate_field("domain", "오리.한국", POLICY) == "xn--oy2b11u.xn--3e0b707e"
    assert validate_field("origin", "203.0.113.7", POLICY) == parse_origin("203.0.113.7")
    with pytest.raises(Problem, match="no dot"):
        validate_field("domain", "ducks", POLICY)
    with pytest.raises(Problem, match="There is no field x"):
        validate_field("x", "", POLICY)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TEXT = st.text(st.characters(exclude_categories=()), max_size=80) | st.sampled_from(
    list(GOOD.values())
)


@given(
    st.dictionaries(st.sampled_from(FIELDS) | TEXT, JSON | TEXT, max_size=8),
    st.sampled_from([POLICY, CLOSED]),
)
def test_anything_is_accepted_or_told_in_a_way_that_can_be_shown(
    fields: dict[str, object], policy: Policy
) -> None:
    for rule in (validate, validate_changes):
        for field, problem in problems_of(rule, fields, policy).items():
            # What the API and the page do with it.
            json.dumps({field: str(problem)}, ensure_ascii=False).encode()
            assert problem.template.format(**problem.parameters) == str(problem)
            assert len(str(problem)) < 1000


def problems_of(
    rule: Callable[[Mapping[str, object], Policy], object],
    fields: dict[str, object],
    policy: Policy,
) -> dict[str, Problem]:
    try:
        rule(fields, policy)
    except InvalidFields as error:
        return error.problems
    return {}
