"""Messages: every kind in every language, whole, escaped, and readable without pictures."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import pytest
from babel.messages.pofile import read_po
from jinja2.ext import babel_extract

import watchducks
from tests.unit.mail.letters import SENDER, posted
from watchducks import catalogs
from watchducks.mail.charts import HEIGHT, MAX_BARS, WIDTH, bar_chart
from watchducks.mail.composing import SUBJECTS, Composer
from watchducks.model.certificates import CertificateProgress, Trouble, note_of
from watchducks.model.letters import LetterKind

COMPOSER = Composer(SENDER)
_PLACES = re.compile(r"%\((\w+)\)s|\{(\w+)\}")
TEMPLATES = Path(watchducks.__file__).parent / "mail" / "templates"


def composed(kind: LetterKind, language: str = "") -> EmailMessage:
    """Return the message as its reader's program sees it."""
    octets = COMPOSER.compose(posted(kind, language)).as_bytes(policy=SMTP)
    assert all(not line.startswith(b".") and len(line) < 998 for line in octets.splitlines())
    return message_from_bytes(octets, policy=default)


def body(message: EmailMessage, kind: str) -> str:
    found = message.get_body((kind,))
    assert found is not None
    return str(found.get_content())


@pytest.mark.parametrize("kind", LetterKind)
@pytest.mark.parametrize("language", ["", "en", "ko"])
def test_every_kind_is_a_text_and_a_page(kind: LetterKind, language: str) -> None:
    message = composed(kind, language)
    assert message["To"] == "owner@mail.example"
    assert message["From"] == "WatchDucks <us@ducks.example>"
    assert message["Message-ID"] == "<letter-7-1800000000@ducks.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    text, html = body(message, "plain"), body(message, "html")
    footers = ("보내 드리는 메일입니다" in text, "You get this because" in text)
    assert footers == ((True, False) if language == "ko" else (False, True))
    for said in (text, html):
        assert "%(" not in said
        assert "{{" not in said
        assert "https://console.example" in said
    assert "<연못>" not in html
    assert html.count("<h1") == (1 if language else 2)


def test_who_told_no_language_is_written_to_in_all() -> None:
    message = composed(LetterKind.REGISTRATION)
    assert re.fullmatch(r"한글\.example: enter .* / 한글\.example: .*[가-힣].*", message["Subject"])
    text = body(message, "plain")
    assert text.index("One step is left") < text.index("이제 한 단계만 남았습니다")
    assert "    ns2.ducks.example" in text


def test_a_link_to_sign_in_is_there_in_both_bodies() -> None:
    message = composed(LetterKind.SIGN_IN, "en")
    link = "https://console.example/sign-in/a-secret-word"
    assert link in body(message, "plain")
    assert f'href="{link}"' in body(message, "html")


@pytest.mark.parametrize("language", ["en", "ko", ""])
def test_a_link_that_stops_letters_is_a_header_that_programs_read_and_in_both_bodies(
    language: str,
) -> None:
    # Longer than a line should be: Python's own folding would encode it.
    link = f"https://console.example/letters/{'abc_DEF-9' * 20}"
    octets = COMPOSER.compose(posted(LetterKind.REPORT, language), link).as_bytes(policy=SMTP)
    assert b"\r\nList-Unsubscribe: <" + link.encode() + b">\r\n" in octets
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in octets
    message = message_from_bytes(octets, policy=default)
    assert body(message, "plain").count(link) == 1
    assert f'href="{link}"' in body(message, "html")
    without = COMPOSER.compose(posted(LetterKind.SIGN_IN, language))
    assert "List-Unsubscribe" not in without
    assert "letters/" not in body(without, "html")


def test_a_report_has_its_picture_and_the_same_figures_as_text() -> None:
    message = composed(LetterKind.REPORT, "en")
    html = body(message, "html")
    (picture,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert picture["Content-ID"] == "<requests>"
    assert 'src="cid:requests"' in html
    assert "/&lt;script&gt;" in html
    assert cast(Any, picture).get_content().startswith(b"\x89PNG")
    text = body(message, "plain")
    for figure in ("1/16: 340", "1/17: \N{EN DASH}", "1.2M (+12%)", "99.87%", "412 ms"):
        assert figure in text


def test_charts_are_bounded_and_well_formed() -> None:
    for values in ([], [0.0], [None, 1.0, 2.0], [1.0] * (MAX_BARS + 100)):
        picture = bar_chart(values)
        assert picture[16:24] == WIDTH.to_bytes(4, "big") + HEIGHT.to_bytes(4, "big")
        assert len(picture) < 20_000


def test_why_a_certificate_needs_a_look_is_told_in_the_readers_language() -> None:
    korean = body(composed(LetterKind.CERTIFICATE, "ko"), "plain")
    assert "www.ducks.example의 CAA 레코드가 인증 기관의 발급을 막고 있습니다." in korean
    assert "forbids" not in korean
    english = body(composed(LetterKind.CERTIFICATE, "en"), "html")
    assert "A CAA record of www.ducks.example forbids" in english
    assert "&lt;b&gt;issue" in english


# --- translations -------------------------------------------------------------------------------


def said() -> set[str]:
    reasons = [note_of(CertificateProgress(trouble=trouble)) for trouble in Trouble]
    found = {*SUBJECTS.values(), *(note.template for note in reasons if note is not None)}
    for path in TEMPLATES.iterdir():
        with path.open("rb") as file:
            options = {"trim_blocks": "true", "lstrip_blocks": "true"}
            for _, _, message, _ in babel_extract(file, ["_"], [], options):
                texts = message if isinstance(message, tuple) else (message,)
                found |= {text for text in texts[:1] if text is not None}
    return found


def test_every_text_has_a_korean_translation_and_nothing_else_is_translated() -> None:
    text = catalogs.read_catalog_text("watchducks.mail", "mail", "ko")
    catalog = read_po(BytesIO(text.encode()), locale="ko", domain="mail")
    known = {str(entry.id): str(entry.string) for entry in catalog if entry.id}
    assert set(known) == said()
    assert len(known) > 40
    for message, translation in known.items():
        places = set(_PLACES.findall(message))
        assert translation, message
        assert set(_PLACES.findall(translation)) == places, message
