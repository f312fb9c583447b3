"""When the answer is ours: why, with which status, and the page that says who failed.

The reason's word is what the row of the exchange carries, so that the owner can tell his server's
failures from ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from enum import StrEnum
from html import escape
from http import HTTPStatus
from typing import Final, Literal

Language = Literal["en", "ko"]


class Reason(StrEnum):
    """Why an answer is ours, or was cut short. The values are stored with the rows."""

    BAD_REQUEST = "bad-request"
    METHOD_REFUSED = "method-refused"
    HEAD_TIMEOUT = "head-timeout"
    BODY_TIMEOUT = "body-timeout"
    TARGET_TOO_LONG = "target-too-long"
    HEAD_TOO_LARGE = "head-too-large"
    TOO_MANY_REQUESTS = "too-many-requests"
    LOOP = "loop"
    UNKNOWN_SITE = "unknown-site"
    MISDIRECTED = "misdirected"
    LOOK_UP_FAILED = "look-up-failed"
    OVERLOADED = "overloaded"
    STOPPING = "stopping"
    CONNECT_REFUSED = "connect-refused"
    CONNECT_FAILED = "connect-failed"
    CONNECT_TIMEOUT = "connect-timeout"
    ORIGIN_TLS = "origin-tls"
    ORIGIN_PIN = "origin-pin"
    ORIGIN_RESET = "origin-reset"
    ORIGIN_STALLED = "origin-stalled"
    FIRST_BYTE_TIMEOUT = "first-byte-timeout"
    ANSWER_TIMEOUT = "answer-timeout"
    BAD_ANSWER = "bad-answer"
    # No page, but an answer of ours: the site's choice.
    REDIRECTED = "redirect-to-https"
    # No page: there is nobody to read it.
    TUNNEL_IDLE = "tunnel-idle"
    VISITOR_LEFT = "visitor-left"
    VISITOR_STALLED = "visitor-stalled"


# nginx's status for a visitor who closed the connection before there was an answer.
STATUS_VISITOR_LEFT: Final = 499


class Refusal(Exception):
    """A request that is answered by us and goes no further."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class OriginFailure(Exception):
    """The origin could not be spoken to, or not any more."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Explanation:
    """:ivar texts: one sentence a language: who failed, and what would help."""

    status: int
    texts: dict[Language, str]


def _of(status: int, english: str, korean: str) -> _Explanation:
    return _Explanation(status, {"en": english, "ko": korean})


_EXPLANATIONS: Final[dict[Reason, _Explanation]] = {
    Reason.BAD_REQUEST: _of(
        400,
        "The request that your browser or program sent is not valid HTTP.",
        "브라우저나 프로그램이 보낸 요청이 올바른 HTTP가 아닙니다.",
    ),
    Reason.METHOD_REFUSED: _of(
        405,
        "This proxy does not carry requests with this method.",
        "이 프록시는 해당 메서드의 요청을 전달하지 않습니다.",
    ),
    Reason.HEAD_TIMEOUT: _of(
        408,
        "Your browser or program did not finish its request in time.",
        "브라우저나 프로그램이 제한 시간 안에 요청을 마치지 못했습니다.",
    ),
    Reason.BODY_TIMEOUT: _of(
        408,
        "Your browser or program stopped sending before its request was complete.",
        "요청이 끝나기 전에 브라우저나 프로그램이 전송을 멈추었습니다.",
    ),
    Reason.TARGET_TOO_LONG: _of(
        414, "The address that was requested is too long.", "요청한 주소가 너무 깁니다."
    ),
    Reason.HEAD_TOO_LARGE: _of(
        431,
        "The request's header fields are too large. Deleting this site's cookies may help.",
        "요청 헤더가 너무 큽니다. 이 사이트의 쿠키를 삭제하면 해결될 수 있습니다.",
    ),
    Reason.TOO_MANY_REQUESTS: _of(
        429,
        "Too many requests came from your address. Please try again soon.",
        "같은 주소에서 너무 많은 요청이 들어왔습니다. 잠시 후 다시 시도해 주세요.",
    ),
    Reason.LOOP: _of(
        508,
        "The site's registered server leads back to this proxy, so the request would never end."
        " The site's owner can correct the server's address.",
        "등록된 사이트 서버의 주소가 이 프록시를 다시 가리키고 있어 요청이 끝나지 않습니다."
        " 사이트 소유자가 서버 주소를 바로잡아야 합니다.",
    ),
    Reason.UNKNOWN_SITE: _of(
        404,
        "No site with this name is registered at this proxy.",
        "이 프록시에 등록되지 않은 사이트입니다.",
    ),
    Reason.MISDIRECTED: _of(
        421,
        "This connection was opened for another site. Loading the page again helps.",
        "다른 사이트를 위해 열린 연결입니다. 페이지를 다시 열어 주세요.",
    ),
    Reason.LOOK_UP_FAILED: _of(
        503,
        "We could not find out where this site lives. The fault is ours, not the site's."
        " Please try again soon.",
        "사이트의 위치를 확인하지 못했습니다. 사이트가 아니라 저희 쪽의 문제입니다."
        " 잠시 후 다시 시도해 주세요.",
    ),
    Reason.OVERLOADED: _of(
        503,
        "Too many requests are waiting for the site's own server. Please try again soon.",
        "사이트 서버의 응답을 기다리는 요청이 너무 많습니다. 잠시 후 다시 시도해 주세요.",
    ),
    Reason.STOPPING: _of(
        503,
        "This proxy is being restarted. The fault is ours, not the site's. Please try again.",
        "프록시를 다시 시작하고 있습니다. 사이트가 아니라 저희 쪽의 문제입니다."
        " 다시 시도해 주세요.",
    ),
    Reason.CONNECT_REFUSED: _of(
        502,
        "The site's own server refuses connections.",
        "사이트 서버가 연결을 거부하고 있습니다.",
    ),
    Reason.CONNECT_FAILED: _of(
        502,
        "The site's own server cannot be reached.",
        "사이트 서버에 연결할 수 없습니다.",
    ),
    Reason.CONNECT_TIMEOUT: _of(
        504,
        "The site's own server does not accept connections in time.",
        "사이트 서버가 제한 시간 안에 연결을 받지 않습니다.",
    ),
    Reason.ORIGIN_TLS: _of(
        502,
        "The site's own server has no valid certificate for this name.",
        "사이트 서버에 이 이름에 대한 유효한 인증서가 없습니다.",
    ),
    Reason.ORIGIN_PIN: _of(
        502,
        "The site's own server has another certificate than the one its owner named.",
        "사이트 서버의 인증서가 소유자가 지정한 인증서와 다릅니다.",
    ),
    Reason.ORIGIN_RESET: _of(
        502,
        "The site's own server closed the connection without an answer.",
        "사이트 서버가 응답 없이 연결을 끊었습니다.",
    ),
    Reason.ORIGIN_STALLED: _of(
        504,
        "The site's own server stopped taking the request.",
        "사이트 서버가 요청 수신을 멈추었습니다.",
    ),
    Reason.FIRST_BYTE_TIMEOUT: _of(
        504,
        "The site's own server does not answer in time.",
        "사이트 서버가 제한 시간 안에 응답하지 않습니다.",
    ),
    Reason.ANSWER_TIMEOUT: _of(
        504,
        "The site's own server stopped in the middle of its answer.",
        "사이트 서버가 응답 도중에 멈추었습니다.",
    ),
    Reason.BAD_ANSWER: _of(
        502,
        "The site's own server answered with something that is not valid HTTP.",
        "사이트 서버의 응답이 올바른 HTTP가 아닙니다.",
    ),
}

_PAGE: Final = """<!doctype html>
<html lang="{language}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>{status} {phrase}</title>
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:38rem;margin:15vh auto;padding:0 1rem}}
small{{color:#666}}</style>
<h1>{status} {phrase}</h1>
<p>{text}</p>
<p><small>WatchDucks &middot; {request_id}</small></p>
</html>
"""


def status_of(reason: Reason) -> int:
    """Return the HTTP status of an answer of ours."""
    return _EXPLANATIONS[reason].status


def language_of(accept_language: bytes) -> Language:
    """Return the one of our languages that ``Accept-Language`` prefers; English if it has neither.

    RFC 9110 section 12.5.4; what cannot be read counts as not there.
    """
    best: Language = "en"
    best_quality = 0.0
    for item in accept_language.lower().split(b","):
        tag, _, parameter = item.strip().partition(b";")
        primary = tag.strip().split(b"-")[0]
        try:
            quality = float(parameter.strip().removeprefix(b"q=")) if parameter else 1.0
        except ValueError:
            continue
        if primary in (b"en", b"ko") and quality > best_quality:
            best, best_quality = ("ko" if primary == b"ko" else "en"), quality
    return best


def answer_of(
    reason: Reason, request_id: bytes, accept_language: bytes, now: float
) -> tuple[int, bytes, list[bytes], bytes]:
    """Return status, phrase, field lines and body of our answer. Nothing of the request is in it.

    :param now: POSIX seconds, for the Date field.
    """
    explanation = _EXPLANATIONS[reason]
    language = language_of(accept_language)
    phrase = HTTPStatus(explanation.status).phrase
    body = _PAGE.format(
        language=language,
        status=explanation.status,
        phrase=escape(phrase),
        text=escape(explanation.texts[language]),
        request_id=escape(request_id.decode("ascii")),
    ).encode()
    fields = [
        f"Date: {formatdate(now, usegmt=True)}\r\n"
        "Content-Type: text/html; charset=utf-8\r\n"
        f"Content-Language: {language}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Vary: Accept-Language\r\n"
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n".encode()
        + b"Via: 1.1 watchducks\r\nX-Request-Id: "
        + request_id
        + b"\r\n"
    ]
    if reason is Reason.METHOD_REFUSED:
        fields.append(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n")
    if explanation.status in (429, 503):
        fields.append(b"Retry-After: 5\r\n")
    return explanation.status, phrase.encode(), fields, body
