"""Languages: every text is translated, the right one is chosen, numbers are written properly."""

from __future__ import annotations

import re
from io import BytesIO
from string import Formatter

import pytest
from babel.messages.pofile import read_po

from tests.unit.console.messages import all_messages
from watchducks.console.languages import Languages, negotiate, read_catalog_text
from watchducks.model.origins import parse_origin
from watchducks.model.problems import Problem

KO = read_po(BytesIO(read_catalog_text("ko").encode()), locale="ko", domain="console")
ENGLISH, KOREAN = Languages()["en"], Languages()["ko"]


def test_messages_are_found_at_all() -> None:
    """A collector that finds nothing would make the next test pass for ever."""
    found = all_messages()
    assert "Register a site" in found
    assert "This field is required." in found
    assert ("%(count)s site", "%(count)s sites") in found
    assert len(found) > 120


@pytest.mark.parametrize("message", sorted(all_messages(), key=str), ids=str)
def test_every_message_has_a_korean_translation(message: str | tuple[str, str]) -> None:
    entry = KO.get(message[0] if isinstance(message, tuple) else message)
    assert entry, f"translate {message!r} in locale/ko/LC_MESSAGES/console.po"
    texts = entry.string if isinstance(entry.string, tuple) else (entry.string,)
    assert all(texts), f"the translation of {message!r} is empty"
    assert not entry.fuzzy
    original = message[0] if isinstance(message, tuple) else message
    for text in texts:
        assert isinstance(text, str)
        assert _places(text) == _places(original)


def _places(text: str) -> set[str]:
    if "%(" in text:
        return set(re.findall(r"%\((\w+)\)s", text))
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_nothing_is_translated_that_nobody_says() -> None:
    said = {message[0] if isinstance(message, tuple) else message for message in all_messages()}
    known = {entry.id[0] if isinstance(entry.id, tuple) else entry.id for entry in KO if entry.id}
    assert known - said == set()


def test_problems_are_translated_with_their_values() -> None:
    with pytest.raises(Problem) as caught:
        parse_origin("203.0.113.7:70000")
    assert ENGLISH.problem(caught.value) == "70000 is not a port: use 1 to 65535."
    assert KOREAN.problem(caught.value).startswith("70000은(는) 포트가 아닙니다.")


def test_our_own_words_in_problems_are_translated_too_but_what_was_typed_is_not() -> None:
    problem = Problem("x", "{address} is a {why} address that visitors cannot reach; enter a "
                      "public one.", address="private", why="private")  # fmt: skip
    assert KOREAN.problem(problem).startswith("private은(는) 방문자가 닿을 수 없는 사설 주소")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"),
        ("ko", "ko"),
        ("ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("en-US,en;q=0.9,ko;q=0.8", "en"),
        ("fr, ko;q=0.3", "ko"),
        ("ko;q=0, en;q=0.1", "en"),
        ("ko;q=0", "en"),
        ("de-DE", "en"),
        ("*, \xff\xfe;q=zzz, ko;q=nan", "en"),
        (",;=,", "en"),
    ],
)
def test_negotiation(header: str, code: str) -> None:
    assert negotiate(header, {"en": 1, "ko": 1}) == code


@pytest.mark.parametrize(
    ("value", "english", "korean"),
    [(0, "0", "0"), (9999, "9,999", "9,999"), (12345, "12.3K", "1.2만")],
)
def test_compact(value: int, english: str, korean: str) -> None:
    assert (ENGLISH.compact(value), KOREAN.compact(value)) == (english, korean)


def test_almost_all_is_not_all() -> None:
    assert ENGLISH.percent(1) == "100%"
    assert ENGLISH.percent(0.999999) == "99.99%"
    assert ENGLISH.percent(0.5) == "50%"


def test_durations_sizes_changes_and_moments() -> None:
    assert [ENGLISH.milliseconds(v) for v in (0.84, 240.4, 1300)] == ["0.8 ms", "240 ms", "1.3 s"]
    assert [ENGLISH.size(v) for v in (812, 1_234, 3.4e9, 2e13)] == [
        "812 B",
        "1.2 kB",
        "3.4 GB",
        "20 TB",
    ]
    assert [ENGLISH.change(v) for v in (0.123, -0.5)] == ["+12%", "-50%"]
    assert [ENGLISH.change(v) for v in (9.99, 10, 4578.9)] == ["+999%", "\xd711", "\xd74,580"]
    assert ENGLISH.moment(1_795_300_000) == "Nov 21 22:26"
    assert KOREAN.date(1_795_300_000) == "11월 21일"
