"""Lines of other servers' access logs as rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchducks.journal.access_logs import caddy, combined
from watchducks.model.rows import IS_PAGE, Row

LINE = (
    b'192.0.2.1 - frank [23/Nov/2026:14:00:00 +0900] "GET /a/b?q=1&r=2 HTTP/1.1" 200 2326'
    b' "https://search.test/?q=x" "Mozilla/5.0 (X11; \\"quoted\\" \\xe9)"\n'
)
AT_US = 1_795_410_000 * 1_000_000  # 2026-11-23T05:00:00Z


def read(line: bytes) -> Row | None:
    return combined(7, "www.example.test")(line)


def test_combined() -> None:
    assert read(LINE) == Row(
        AT_US,
        7,
        "request",
        "",
        "HTTP/1.1",
        "GET",
        "www.example.test",
        "/a/b",
        200,
        "",
        "192.0.2.1",
        'Mozilla/5.0 (X11; "quoted" \N{REPLACEMENT CHARACTER})',
        "https://search.test/?q=x",
        0,
        2326,
        0,
        0,
        "q=1&r=2",
        0,  # what it was is told by its path, when it is shipped
    )


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        (LINE.replace(b"+0900", b"-0530"), {"time_us": AT_US + (9 * 3600 + 19800) * 1_000_000}),
        (LINE.replace(b"192.0.2.1", b"2001:db8::1"), {"client": "2001:db8::1"}),
        (LINE.replace(b" 2326 ", b" - "), {"response_bytes": 0}),
        (LINE.replace(b'"https://search.test/?q=x"', b'"-"'), {"referrer": ""}),
        (LINE.replace(b" HTTP/1.1", b""), {"protocol": ""}),
        # A virtual host before it, as Debian's vhost_combined has it; and the common format.
        (b"www.example.test:443 " + LINE, {}),
        (LINE[: LINE.index(b' "https')] + b"\n", {"referrer": "", "user_agent": ""}),
    ],
)
def test_what_lines_may_have(line: bytes, changes: dict[str, Any]) -> None:
    expected = read(LINE)
    assert expected is not None
    assert read(line) == expected._replace(**changes)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"not a log\n",
        LINE.replace(b"23/Nov", b"31/Feb"),
        LINE.replace(b"Nov", b"Noo"),
        LINE.replace(b"2026", b"9999"),
        LINE.replace(b'"GET /a/b?q=1&r=2 HTTP/1.1"', b'"-"'),
        LINE.replace(b'"GET /a/b?q=1&r=2 HTTP/1.1"', b'"\\x16\\x03\\x01\\x02 \\x00"'),
        b'{"ts": 1}\n',
    ],
)
def test_what_is_no_line_of_it(line: bytes) -> None:
    assert read(line) is None


ENTRY: dict[str, Any] = {
    "ts": 1795410000.25,
    "request": {
        "remote_ip": "192.0.2.1",
        "proto": "HTTP/2.0",
        "method": "GET",
        "host": "www.example.test:443",
        "uri": "/a?b=c",
        "headers": {"User-Agent": ["curl/8"], "Referer": ["https://a.test/"]},
        "tls": {"resumed": False},
    },
    "bytes_read": 5,
    "duration": 0.0125,
    "size": 99,
    "status": 404,
    "resp_headers": {"Content-Type": ["text/html; charset=utf-8"]},
}


def test_caddy() -> None:
    row = caddy(7, "example.test")(json.dumps(ENTRY).encode())
    assert row is not None
    assert (row.time_us, row.duration_us) == (AT_US + 250_000, 12_500)
    assert (row.scheme, row.host, row.path, row.query) == (
        "https",
        "www.example.test",
        "/a",
        "b=c",
    )
    assert (row.status, row.user_agent, row.referrer) == (404, "curl/8", "https://a.test/")
    assert (row.request_bytes, row.response_bytes, row.traits) == (5, 99, IS_PAGE)


@given(st.binary(max_size=300))
def test_anything_is_a_row_or_none(line: bytes) -> None:
    for parse in (combined(1, "a.test"), caddy(1, "a.test")):
        parse(line)
        parse(LINE + line)


@settings(max_examples=30)
@given(
    st.recursive(
        st.none() | st.floats() | st.text(),
        lambda some: (
            st.lists(some) | st.dictionaries(st.sampled_from([*ENTRY, *ENTRY["request"]]), some)
        ),
        max_leaves=5,
    )
)
def test_any_json_is_a_row_or_none(value: object) -> None:
    parse = caddy(1, "a.test")
    parse(json.dumps(value).encode())
    for key in ENTRY:
        parse(json.dumps({**ENTRY, key: value}).encode())
    for key in ENTRY["request"]:
        parse(json.dumps({**ENTRY, "request": {**ENTRY["request"], key: value}}).encode())
