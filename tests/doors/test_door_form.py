"""The door of the web form: whatever is sent, a page comes back, and the console goes on."""

from __future__ import annotations

from urllib.parse import quote_from_bytes, urlencode

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.console.driver import GOOD, HTML, Driver, Reply

DRIVER = Driver()
TOKEN = DRIVER.csrf()

FIELDS = st.sampled_from([*GOOD, *TOKEN, "", "odd", "__x", "\x00", "이름"])
ANYTHING = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        [
            *GOOD.values(),
            "http://[::1]:99999",
            "[fe80::1%eth0]",
            "xn--\u00ff",
            "a" * 600,
            "\u202eevil.example",
            "{value}",
            "%s%(x)s",
            "<script>alert(1)</script>",
            "x@[1.2.3.4]",
            "é" * 300 + ".com",
        ]
    ),
)
FORM_TYPE = {"Content-Type": "application/x-www-form-urlencoded"}


def is_a_page(reply: Reply) -> None:
    """Check that a person got a page, and nothing of our insides."""
    assert reply.status in (303, 400, 403, 413, 415, 422), reply.status
    if reply.status != 303:
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert "</html>" in reply.text
    assert "Traceback" not in reply.text
    assert "<script>alert" not in reply.text
    assert DRIVER.ask("GET", "/healthz").status == 200


@given(st.lists(st.tuples(FIELDS, ANYTHING), max_size=12))
def test_any_fields(fields: list[tuple[str, str]]) -> None:
    body = urlencode([*TOKEN.items(), *fields], errors="replace").encode()
    is_a_page(DRIVER.ask("POST", "/register", body, {**HTML, **FORM_TYPE}))


@given(ANYTHING, ANYTHING, ANYTHING, ANYTHING, ANYTHING)
def test_any_values(name: str, domain: str, origin: str, email: str, cohort: str) -> None:
    values = dict(zip(GOOD, (name, domain, origin, email, cohort), strict=True))
    body = urlencode({**values, **TOKEN}, errors="replace").encode()
    is_a_page(DRIVER.ask("POST", "/register", body, {**HTML, **FORM_TYPE}))


@given(st.binary(max_size=400), st.booleans())
def test_any_body(body: bytes, with_token: bool) -> None:
    head = urlencode(TOKEN).encode() + b"&" if with_token else b""
    is_a_page(DRIVER.ask("POST", "/register", head + body, {**HTML, **FORM_TYPE}))


header_text = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00"), max_size=60)


@given(header_text, header_text, header_text, header_text)
def test_any_headers(content_type: str, language: str, cookie: str, encoding: str) -> None:
    headers = {
        **HTML,
        "Content-Type": content_type,
        "Accept-Language": language,
        "Cookie": cookie,
        "Accept-Encoding": encoding,
        "X-Auth-Token": cookie,
    }
    other = Driver()  # without cookies of its own
    is_a_page(other.ask("POST", "/register", b"name=x", headers))
    assert other.ask("GET", "/register", headers=headers).status == 200


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_check(field: bytes, value: bytes) -> None:
    DRIVER.clock.advance(10)  # for the rate limit
    path = f"/register/check?field={quote_from_bytes(field)}&value={quote_from_bytes(value)}"
    assert DRIVER.ask("GET", path).status in (200, 400)
