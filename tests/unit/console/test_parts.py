"""The console's small parts: sessions, rates, bodies, hosts, headers."""

from __future__ import annotations

from io import BytesIO
from typing import Any, cast

import pytest
from klein.interfaces import NoSuchSession, SessionMechanism
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from watchducks.console.access import bearer_token
from watchducks.console.answers import Refusal
from watchducks.console.bodies import MAX_FORM_FIELDS, MAX_JSON_DEPTH, read_form, read_json_object
from watchducks.console.headers import accepts_gzip, header
from watchducks.console.http import check_host
from watchducks.console.rates import MAX_VISITORS, RateLimit
from watchducks.console.sessions import LIFE_SECONDS, MAX_NOTES, Session, SignedSessions

COOKIE = SessionMechanism.Cookie


class FakeRequest:
    """Headers and a body."""

    def __init__(self, body: bytes = b"", **headers: bytes) -> None:
        self.content = BytesIO(body)
        self.requestHeaders = Headers(
            {name.replace("_", "-").encode(): [value] for name, value in headers.items()}
        )


def request(body: bytes = b"", **headers: bytes) -> Any:
    return cast(Any, FakeRequest(body, **headers))


def refusal(function: Any, *arguments: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        function(*arguments)
    return caught.value


# --- sessions -----------------------------------------------------------------------------------


async def new_session(sessions: SignedSessions) -> Session:
    return await sessions.newSession(isConfidential=False, authenticatedBy=COOKIE)


def run(coroutine: Any) -> Any:
    """Run a coroutine that never waits."""
    with pytest.raises(StopIteration) as finished:
        coroutine.send(None)
    return finished.value.value


def load(sessions: SignedSessions, identifier: str, mechanism: Any = COOKIE) -> Session:
    async def loading() -> Session:
        return await sessions.loadSession(
            identifier, isConfidential=False, authenticatedBy=mechanism
        )

    return cast(Session, run(loading()))


def refused(sessions: SignedSessions, identifier: str, mechanism: Any = COOKIE) -> None:
    async def loading() -> None:
        with pytest.raises(NoSuchSession):
            await sessions.loadSession(identifier, isConfidential=False, authenticatedBy=mechanism)

    run(loading())


def test_a_session_is_known_again_until_it_ends() -> None:
    clock = Clock()
    sessions = SignedSessions(clock)
    identifier = run(new_session(sessions)).identifier
    assert load(sessions, identifier).identifier == identifier
    clock.advance(LIFE_SECONDS + 1)
    refused(sessions, identifier)


def test_forged_sessions_are_refused() -> None:
    sessions = SignedSessions(Clock())
    identifier = run(new_session(sessions)).identifier
    expiry, rest = identifier.split(".", 1)
    later = f"{int(expiry) + 1}.{rest}"
    others = run(new_session(SignedSessions(Clock()))).identifier
    for forged in ("", ".", "..", "1.2.3", later, identifier[:-1], others, "é.é.é", "x.y." + rest):
        refused(sessions, forged)


def test_a_header_names_no_session() -> None:
    """Klein asks such a session for no CSRF token."""
    sessions = SignedSessions(Clock())
    refused(sessions, run(new_session(sessions)).identifier, SessionMechanism.Header)


def test_a_note_is_read_once_by_its_session_only() -> None:
    sessions = SignedSessions(Clock())
    mine, other = run(new_session(sessions)), run(new_session(sessions))
    sessions.leave_note(mine, "token", "secret")
    assert sessions.take_note(other, "token") is None
    assert sessions.take_note(mine, "token") == "secret"
    assert sessions.take_note(mine, "token") is None


def test_notes_are_bounded() -> None:
    sessions = SignedSessions(Clock())
    session = run(new_session(sessions))
    for number in range(MAX_NOTES + 1):
        sessions.leave_note(session, str(number), "text")
    assert sessions.take_note(session, "0") is None
    assert sessions.take_note(session, "1") == "text"


# --- rates --------------------------------------------------------------------------------------


def test_a_burst_passes_then_the_rate_holds() -> None:
    clock = Clock()
    limit = RateLimit(2.0, 3, clock)
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]
    assert limit.allows("b"), "another visitor has a bucket of his own"
    clock.advance(0.4)
    assert not limit.allows("a")
    clock.advance(0.2)
    assert limit.allows("a")
    clock.advance(1000)
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]


def test_remembered_visitors_are_bounded() -> None:
    limit = RateLimit(0.0, 1, Clock())
    assert limit.allows("first")
    assert not limit.allows("first")
    for number in range(MAX_VISITORS):
        limit.allows(str(number))
    assert limit.allows("first"), "the longest idle one is forgotten"


# --- bodies -------------------------------------------------------------------------------------

JSON = {"content_type": b"application/json"}
FORM = {"content_type": b"application/x-www-form-urlencoded"}


def test_json_is_read() -> None:
    body = '{"name": "오리", "n": [1]}'.encode()
    plain = {"content_type": b"Application/JSON; charset=UTF-8"}
    assert read_json_object(request(body, **plain)) == {"name": "오리", "n": [1]}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "json"),
        (b"{", "json"),
        (b"{'a': 1}", "json"),
        (b'{"a": NaN}', "json"),
        (b'{"a": -Infinity}', "json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "json"),
        (b'{"a": 1, "a": 2}', "duplicate"),
        (b'{"b": {"a": 1, "a": 2}}', "duplicate"),
        (b"[1]", "object"),
        (b'"text"', "object"),
        (b"null", "object"),
        (b"[" * (MAX_JSON_DEPTH + 1) + b"]" * (MAX_JSON_DEPTH + 1), "depth"),
        (b"[" * 60_000, "depth"),
        (b'{"a": "\xff"}', "encoding"),
    ],
)
def test_wrong_json_is_told(body: bytes, code: str) -> None:
    told = refusal(read_json_object, request(body, **JSON))
    assert (told.status, told.problem.code) == (400, code)


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        (b"", "content-type"),
        (b"text/plain", "content-type"),
        (b"application/json5", "content-type"),
        (b"application/json; charset=latin-1", "charset"),
        (b"application/json; charset*=x''%ff", "charset"),
        (b"\xff\xfe", "content-type"),
    ],
)
def test_wrong_content_types_are_told(content_type: bytes, code: str) -> None:
    told = refusal(read_json_object, request(b"{}", content_type=content_type))
    assert (told.status, told.problem.code) == (415, code)


def test_a_form_is_read() -> None:
    body = b"name=%EC%98%A4%EB%A6%AC&a=1&a=2&empty="
    assert read_form(request(body, **FORM)) == {
        b"name": ["오리".encode()],
        b"a": [b"1", b"2"],
        b"empty": [b""],
    }


@pytest.mark.parametrize("body", [b"a=%ff", b"\xff=1", b"&".join([b"a=1"] * (MAX_FORM_FIELDS + 1))])
def test_a_wrong_form_is_told(body: bytes) -> None:
    assert refusal(read_form, request(body, **FORM)).status == 400


def test_a_form_of_another_kind_is_refused() -> None:
    told = refusal(read_form, request(b"", content_type=b"multipart/form-data; boundary=x"))
    assert told.status == 415


# --- hosts and headers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "console.example",
        "CONSOLE.example:80",
        "localhost:1",
        "127.0.0.1:8000",
        "[::1]:8000",
        "console.example.",
    ],
)
def test_our_own_hosts_are_served(host: str) -> None:
    check_host(b"/", host, "console.example")


@pytest.mark.parametrize(
    ("host", "status"),
    [("", 400), ("[", 400), (":80", 400), ("evil.example", 421), ("127.0.0.1.evil.example", 421)],
)
def test_other_hosts_are_refused(host: str, status: int) -> None:
    assert refusal(check_host, b"/", host, "console.example").status == status
    check_host(b"/healthz", host, "console.example")


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (b"gzip", True),
        (b"br, GZIP;q=0.5", True),
        (b"*", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"br", False),
        (b"\xff", False),
    ],
)
def test_gzip(value: bytes, accepted: bool) -> None:
    assert accepts_gzip(request(accept_encoding=value)) is accepted
    assert not accepts_gzip(request())


def test_a_header_of_any_bytes_is_text() -> None:
    assert header(request(accept_language=b"\xff"), b"accept-language") == "\xff"


def test_bearer_tokens() -> None:
    assert bearer_token("bearer  wd_x ") == "wd_x"
    for wrong in ("", "Bearer", "Bearer ", "Basic abc", "wd_x"):
        assert refusal(bearer_token, wrong).status == 401
