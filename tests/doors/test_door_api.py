"""The door of the JSON API: whatever is sent, a JSON document comes back, and it goes on."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, quote_from_bytes

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.console.driver import GOOD, Driver, Reply
from watchducks.registry.choices import CHOICES

DRIVER = Driver()
TOKEN = DRIVER.api("POST", "/api/v1/sites", GOOD).json["token"]

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=60),  # halves of surrogate pairs included
        st.sampled_from([*GOOD.values(), "\ud800", "a\x00b", "127.0.0.1", "x" * 600]),
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)
FIELDS = st.one_of(st.sampled_from([*GOOD, "token", "odd"]), st.text(st.characters(), max_size=9))
JSON_TYPE = {"Content-Type": "application/json"}


def is_a_problem(reply: Reply, *allowed: int) -> None:
    """Check that a refusal is a proper problem document."""
    assert reply.status in allowed, (reply.status, reply.text)
    if reply.status >= 400:
        assert reply.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = reply.json
        assert document["status"] == reply.status
        assert "Traceback" not in reply.text
    assert DRIVER.api("GET", "/api/v1/sites/ducks").status == 200
    # Time goes on, or all examples together would be one address's burst.
    DRIVER.clock.advance(1)


@given(st.dictionaries(FIELDS, VALUES, max_size=7))
def test_any_object(body: dict[str, Any]) -> None:
    text = json.dumps(body).encode()
    is_a_problem(DRIVER.ask("POST", "/api/v1/sites", text, JSON_TYPE), 400, 409, 422)


@given(st.dictionaries(st.sampled_from(sorted([*GOOD, *CHOICES])), VALUES, max_size=5))
def test_any_change(body: dict[str, Any]) -> None:
    is_a_problem(DRIVER.api("PATCH", "/api/v1/sites/ducks", body, TOKEN), 200, 400, 422)


@given(st.one_of(st.binary(max_size=300), VALUES.map(json.dumps).map(str.encode)))
def test_any_body(body: bytes) -> None:
    is_a_problem(DRIVER.ask("POST", "/api/v1/sites", body, JSON_TYPE), 400, 409, 422)


@given(st.binary(min_size=1, max_size=40), st.sampled_from(["GET", "PATCH", "DELETE", "BREW"]))
def test_any_name(name: bytes, method: str) -> None:
    path = f"/api/v1/sites/{quote_from_bytes(name, safe='')}"
    headers = {"Authorization": "Bearer wd_wrong", **JSON_TYPE}
    is_a_problem(DRIVER.ask(method, path, b"{}", headers), 400, 403, 404, 405)


@given(
    st.sampled_from(["traffic", "latency", "status", "visitors", "paths", "referrers"]),
    st.one_of(st.sampled_from(["day", "custom"]), st.text(max_size=20)),
    *[
        st.one_of(
            st.text(max_size=30),
            st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
            st.sampled_from(["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z"]),
        )
    ]
    * 2,
)
def test_any_period(kind: str, range_: str, start: str, end: str) -> None:
    query = "&".join(
        f"{name}={quote(value, safe='')}"
        for name, value in (("range", range_), ("from", start), ("to", end))
    )
    reply = DRIVER.ask("GET", f"/api/v1/sites/ducks/{kind}?{query}")
    is_a_problem(reply, 200, 400, 422)


header_text = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00"), max_size=60)


@given(header_text, header_text, header_text)
def test_any_headers(authorization: str, content_type: str, language: str) -> None:
    headers = {
        "Authorization": authorization,
        "Content-Type": content_type,
        "Accept-Language": language,
    }
    reply = DRIVER.ask("PATCH", "/api/v1/sites/ducks", b"{", headers)
    is_a_problem(reply, 400, 401, 403, 415)
