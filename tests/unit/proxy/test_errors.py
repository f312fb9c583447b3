"""Pages of ours."""

from __future__ import annotations

import pytest

from watchducks.proxy.errors import Reason, answer_of, language_of, status_of

WITHOUT_PAGE = {
    Reason.REDIRECTED,
    Reason.TUNNEL_IDLE,
    Reason.VISITOR_LEFT,
    Reason.VISITOR_STALLED,
}
PAGES = [r for r in Reason if r not in WITHOUT_PAGE]


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        (b"", "en"),
        (b"ko", "ko"),
        (b"ko-KR,ko;q=0.9,en-US;q=0.8", "ko"),
        (b"en-US,ko;q=0.9", "en"),
        (b"fr, ko;q=0.2, en;q=0.1", "ko"),
        (b"ko;q=0", "en"),
        (b"ko;q=x, en;q=0.1", "en"),
        (b"\xff\xfe;;,,=", "en"),
        (b"ko;q=nan", "en"),
    ],
)
def test_the_language_is_the_visitors(accepted: bytes, language: str) -> None:
    assert language_of(accepted) == language


@pytest.mark.parametrize("reason", PAGES)
@pytest.mark.parametrize("accepted", [b"ko", b"en"])
def test_every_reason_has_a_page_in_each_language(reason: Reason, accepted: bytes) -> None:
    status, phrase, lines, body = answer_of(reason, b"id-7", accepted, 0.0)
    head = b"".join(lines)
    assert status == status_of(reason)
    assert b"<h1>%d %b</h1>" % (status, phrase) in body
    assert b"id-7" in body
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert b"Cache-Control: no-store\r\n" in head
    assert b"X-Request-Id: id-7\r\n" in head
    assert b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" in head
    assert (min(c for c in body.decode() if c > "ㅏ") >= "가") if accepted == b"ko" else True
    assert body.decode().isascii() is (accepted == b"en")
