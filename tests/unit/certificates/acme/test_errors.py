"""Errors of an authority, told apart by what to do about them."""

from __future__ import annotations

import pytest

from watchducks.certificates.acme.errors import (
    MAX_RETRY_SECONDS,
    AcmeError,
    RateLimited,
    Reason,
    Rejected,
    Unavailable,
    problem,
    retry_after,
)

PREFIX = "urn:ietf:params:acme:error:"


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (429, "rateLimited", RateLimited),
        (400, "rateLimited", RateLimited),
        (429, "", RateLimited),
        (503, "", Unavailable),
        (500, "serverInternal", Unavailable),
        (403, "unauthorized", AcmeError),
        (400, "malformed", AcmeError),
    ],
)
def test_kinds(status: int, kind: str, expected: type[AcmeError]) -> None:
    document = {"type": PREFIX + kind, "detail": "words"} if kind else None
    found = problem(status, document, 7.0)
    assert type(found) is expected
    assert (found.kind, found.retry_seconds) == (kind, 7.0)


def test_names_of_subproblems() -> None:
    found = problem(
        400,
        {
            "type": f"{PREFIX}compound",
            "subproblems": [
                {"identifier": {"type": "dns", "value": "A.example"}, "detail": "too \n odd"},
                {"identifier": {"type": "dns", "value": "b.example"}},
                {"identifier": 5},
                "junk",
            ],
        },
        None,
    )
    assert isinstance(found, Rejected)
    assert found.names == {
        "a.example": Reason("", "too   odd"),
        "b.example": Reason("", "no reason given"),
    }


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        ("0", 0.0),
        ("999999999", MAX_RETRY_SECONDS),
        ("9" * 400, None),
        ("soon", None),
        ("-5", None),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=1000.0) == seconds
