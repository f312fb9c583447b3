"""Every form with absurd values, in both languages: never a fault of ours, and never a riddle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote_from_bytes, urlencode

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from tests.unit.console.driver import GOOD, HTML, Driver, Reply
from watchducks.model.subjects import Subject, Subscription

OWNER: Final = "owner@ducks.example"
ABSURD: Final[tuple[bytes, ...]] = (
    b"",
    b"   ",
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",  # half of a surrogate pair
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{DUCK}".encode(),
    "\N{ARABIC-INDIC DIGIT THREE}".encode(),
    "\N{SUPERSCRIPT TWO}".encode(),
    b"<script>alert(1)</script>",
    b"{{ 7 * 7 }} %(name)s {value}",
    b"' OR 1=1 --",
    b"a\r\nSet-Cookie: x=y",
    b"-1",
    b"9" * 400,
    b"1e999",
    b"NaN",
    b"../../etc/passwd",
    b"http://user:password@[::1%25lo]:99999/path?query",
    b"xn--" + b"a" * 60 + b".example",
    b"." * 300,
    b"a@" * 200,
    b"x" * 600,
    b"x" * 20_000,
)
# Each form, and the fields that it has beside the one that is absurd.
FORMS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "/register": ("/register", GOOD),
    "/register/look": ("/register", GOOD),
    "/sign-in": ("/sign-in", {"email": OWNER}),
    "/sign-out": ("/account", {"everywhere": ""}),
    "/account/tokens": ("/account/tokens", {"label": "x", "scope": "read", "site": ""}),
    "/account/tokens/revoke": ("/account/tokens", {"number": "1"}),
    "/account/letters": ("/account/letters", {"number": "1", "report": "yes"}),
    "/sites/ducks/settings": (
        "/sites/ducks/settings",
        {
            "origin": "203.0.113.7",
            "origin_tls": "verify",
            "origin_pin": "",
            "hsts_seconds": "0",
            "query_parameters": "page",
        },
    ),
    "/sites/ducks/settings/visibility": ("/sites/ducks/settings", {"visibility": "public"}),
    "/sites/ducks/settings/unlock": ("/sign-in", {"token": "x"}),
    "/admin/blocks": ("/admin/blocks", {"what": "x.example", "reason": "y"}),
    "/admin/blocks/remove": ("/admin/blocks", {"number": "1"}),
    "/admin/blocks/sites": ("/admin/blocks", {"number": "1", "act": "suspend"}),
}
PAGES: Final = (
    "/register/check?field=origin&value=",
    "/register/check?field=domain&value=",
    "/register/check?value=x&field=",
    "/sites/ducks/history?before=",
    "/account/trail?before=",
    "/account/letters?kept=",
    "/admin?q=",
    "/admin/blocks?block=",
    "/sign-in?sent=",
    "/sign-in/",
    "/letters/",
    "/sites/",
)


@pytest.fixture
def driver() -> Driver:
    """A console whose admin is signed in, and owns a site."""
    found = Driver()
    _ = pytest_twisted.blockon(Deferred.fromCoroutine(found.add(email=OWNER)))
    found.accounts.admins.add(OWNER)
    found.cookies["sign_in"] = found.accounts.signed_in(OWNER)
    return found


def is_told(reply: Reply, what: str, language: str) -> None:
    """No fault of ours, nothing typed became markup, and what is wrong is in the reader's words."""
    assert reply.status < 500, (what, reply.status)
    assert "x=y" not in reply.cookies
    if reply.headers.get("content-type", "").startswith("application/json"):
        assert reply.json["message"] or reply.json["ok"], what
        return
    for hint in ("Traceback", "<script>alert", ">49<"):
        assert hint not in reply.text, what
    if reply.status in (303, 200):
        return
    said = re.findall(r'class="(?:message|notice bad)"[^>]*>([^<]+)<', reply.text)
    said += re.findall(r'<div class="card empty">(.*?)</div>', reply.text, re.DOTALL)
    text = " ".join(said).strip()
    assert text, what
    if language == "ko":
        assert re.search("[가-힣]", text), (what, text)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("path", FORMS)
def test_a_form_with_absurd_values_is_answered(driver: Driver, path: str, language: str) -> None:
    page, usual = FORMS[path]
    driver.cookies["language"] = language
    signed_in = dict(driver.cookies)
    csrf = driver.csrf(page)
    headers = {**HTML, "Content-Type": "application/x-www-form-urlencoded"}
    statuses = set()
    for name in usual:
        others = {**csrf, **{key: value for key, value in usual.items() if key != name}}
        for value in ABSURD:
            driver.clock.advance(120)  # and so no limit of rates comes in between
            driver.cookies.update(signed_in)
            driver.accounts.sessions.setdefault(signed_in["sign_in"], OWNER)
            body = f"{urlencode(others)}&{name}={quote_from_bytes(value, safe='')}"
            reply = driver.ask("POST", path, body.encode(), headers)
            is_told(reply, f"{name} = {value[:40]!r}", language)
            statuses.add(reply.status)
    # The form was understood, and judged: it was no expired form that was refused each time.
    assert statuses & {200, 303, 404, 422} or path.endswith("unlock")
    assert 403 not in statuses or path.endswith("unlock")


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("path", PAGES)
def test_an_address_with_absurd_values_is_answered(
    driver: Driver, path: str, language: str
) -> None:
    driver.cookies["language"] = language
    for value in ABSURD:
        driver.clock.advance(10)
        reply = driver.get(f"{path}{quote_from_bytes(value[:2000], safe='')}")
        is_told(reply, repr(value[:40]), language)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_letters_are_chosen_with_absurd_values_too(driver: Driver, language: str) -> None:
    path = f"/letters/{Subscription(OWNER, 1, Subject.REPORT).pack().hex()}"
    csrf = driver.csrf(f"{path}?lang={language}")
    headers = {**HTML, "Content-Type": "application/x-www-form-urlencoded"}
    for value in ABSURD:
        text = quote_from_bytes(value, safe="")
        body = f"{urlencode(csrf)}&report={text}&nothing={text}"
        is_told(driver.ask("POST", f"{path}/choose", body.encode(), headers), text[:40], language)
        is_told(driver.ask("POST", path, text.encode(), headers), text[:40], language)
