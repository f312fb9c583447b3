"""Answers: what is sent back, and the one place where an exception becomes an answer."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from klein.interfaces import NoSuchSession
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from watchducks.background import Overloaded
from watchducks.console.headers import accepts_gzip, header
from watchducks.console.languages import Language, Languages, mark
from watchducks.model.accounts import ANYBODY
from watchducks.model.problems import InvalidFields, Problem
from watchducks.registry.registry import Conflict, RevisionChanged, SiteNotFound
from watchducks.stores.interfaces import StoreUnavailable

# Below this a gzip header costs more than it saves.
MIN_COMPRESSED_BYTES: Final = 600
# A level that takes 0.3 ms for a page of 20 kB; higher ones save one percent more for twice that.
GZIP_LEVEL: Final = 4
# 2**64 documents have to be seen before two of them are likely to be taken for one another.
_TAG_BYTES: Final = 16
_VARY: Final = "Accept-Encoding, Accept-Language, Authorization, Cookie"
# A store that restarts is back within seconds; asking more often only keeps it busy.
RETRY_AFTER_SECONDS: Final = 5

HTML: Final = "text/html; charset=utf-8"
JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"

# RFC 4151: names for kinds of problems that need no page to exist.
PROBLEM_TYPE: Final = "tag:watchducks.example,2026:"

_TITLES: Final = {
    400: mark("Bad request"),
    401: mark("Not signed in"),
    403: mark("Not allowed"),
    404: mark("Not found"),
    405: mark("Method not allowed"),
    409: mark("Conflict"),
    412: mark("Changed meanwhile"),
    413: mark("Too large"),
    415: mark("Unsupported content type"),
    421: mark("Wrong host"),
    422: mark("Some values are not accepted"),
    429: mark("Too many requests"),
    500: mark("Something went wrong on our side"),
    503: mark("Not available right now"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer.

    :ivar compress: may be compressed. Not for what holds a secret beside a visitor's own text:
        the length of compressed text tells about the secret (BREACH).
    """

    body: bytes
    content_type: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    compress: bool = True


class Prepared:
    """An answer with what is worked out of its body once, however many it is sent to.

    :ivar tag: its entity tag; "": it has none.
    """

    def __init__(self, answer: Answer, *, tagged: bool) -> None:
        self.answer = answer
        self.tag = ""
        if tagged and answer.status == 200 and "Cache-Control" not in answer.headers:
            # Weak: it is the same for what was compressed and for what was not.
            digest = hashlib.blake2b(answer.body, digest_size=_TAG_BYTES).hexdigest()
            self.tag = answer.headers.get("ETag") or f'W/"{digest}"'
        self.compresses = answer.compress and len(answer.body) >= MIN_COMPRESSED_BYTES
        self._compressed = b""

    @property
    def compressed(self) -> bytes:
        """The body, compressed with gzip."""
        if not self._compressed:
            self._compressed = gzip.compress(self.answer.body, GZIP_LEVEL, mtime=0)
        return self._compressed

    @property
    def size(self) -> int:
        """The bytes that it takes in memory, its compressed body included."""
        return len(self.answer.body) + len(self._compressed)


class Refusal(Exception):
    """A request that is not carried out: the status, the reason and what goes with it.

    :ivar errors: field -> its problem, for 422.
    """

    def __init__(
        self,
        status: int,
        problem: Problem,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Mapping[str, Problem] | None = None,
    ) -> None:
        super().__init__(str(problem))
        self.status = status
        self.problem = problem
        self.headers = dict(headers or {})
        self.errors = dict(errors or {})


def not_found(what: Problem | None = None) -> Refusal:
    """Return the refusal for something that is not there."""
    return Refusal(404, what or Problem("not-found", mark("There is nothing at this address.")))


def no_site(name: str) -> Refusal:
    """Return the refusal for a site that is not registered, or not to be seen by who asks."""
    words = mark("There is no site {name} that you may see. If it is yours, sign in.")
    return not_found(Problem("no-site", words, name=name[:63]))


def as_refusal(error: BaseException | None) -> Refusal | None:
    """Return how ``error`` is told to the visitor, or None if it is a fault of ours."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Conflict):
        taken = Problem("conflict", mark("Somebody was there first."))
        return Refusal(409, taken, errors=error.problems)
    if isinstance(error, SiteNotFound):
        return not_found()
    if isinstance(error, RevisionChanged):
        changed = mark(
            "The site has changed since you read it. Load it again and repeat your change."
        )
        return Refusal(412, Problem("revision", changed))
    if isinstance(error, InvalidFields):
        problem = Problem("invalid-fields", mark("Correct the marked fields and send again."))
        return Refusal(422, problem, errors=error.problems)
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        problem = Problem("method", mark("Allowed here: {methods}."), methods=allowed)
        return Refusal(405, problem, headers={"Allow": allowed})
    if isinstance(error, HTTPException):
        return not_found()
    if isinstance(error, NoSuchSession):
        return expired_form()
    if isinstance(error, StoreUnavailable | Overloaded):
        problem = Problem(
            "unavailable",
            mark("A database does not answer. Your site is served all the same; try again soon."),
        )
        return Refusal(503, problem, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
    return None


def expired_form() -> Refusal:
    """Return the refusal of a form that this browser was not given, or too long ago."""
    return Refusal(
        403,
        Problem(
            "expired-form", mark("This form has expired. Go back, reload the page and send again.")
        ),
    )


class Answers:
    """Sends answers and turns exceptions into them.

    :param page: renders the HTML page of a refusal: (language, refusal, title, detail) -> text.
    """

    def __init__(
        self, languages: Languages, page: Callable[[Language, Refusal, str, str], str]
    ) -> None:
        self._languages = languages
        self._page = page
        self._log = Logger(namespace="watchducks.console")

    def send(self, request: Request, answer: Answer) -> bytes:
        """Set status and headers for ``answer`` and return the body to be written."""
        prepared = Prepared(answer, tagged=request.method == b"GET")
        # For who keeps it (console.ready).
        cast(Any, request).prepared = prepared
        return self._send(request, prepared)

    def give(self, request: Request, prepared: Prepared) -> None:
        """Send what somebody else has been sent already, as a whole."""
        body = self._send(request, prepared)
        request.write(body)
        request.finish()

    def _send(self, request: Request, prepared: Prepared) -> bytes:
        answer, body = prepared.answer, prepared.answer.body
        viewer = getattr(request, "viewer", None)
        caching = "no-cache" if viewer in (None, ANYBODY) else "private, no-cache"
        headers = {"Cache-Control": caching, "Content-Type": answer.content_type, "Vary": _VARY}
        if prepared.tag:
            headers["ETag"] = prepared.tag
            if _has_already(header(request, b"if-none-match"), prepared.tag):
                return self._not_modified(request, headers)
        request.setResponseCode(answer.status)
        if prepared.compresses and accepts_gzip(request):
            body = prepared.compressed
            headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(body))
        for name, value in {**headers, **answer.headers}.items():
            request.responseHeaders.setRawHeaders(name, [value])
        return body

    def _not_modified(self, request: Request, headers: Mapping[str, str]) -> bytes:
        request.setResponseCode(304)
        # RFC 9110 section 15.4.5.
        for name in ("Cache-Control", "ETag", "Vary"):
            if name in headers:
                request.responseHeaders.setRawHeaders(name, [headers[name]])
        return b""

    def deliver(self, request: Request, answer: Answer | BaseException) -> int:
        """Send ``answer``, or what an exception means, from a plain twisted.web resource."""
        if isinstance(answer, Answer):
            body = self.send(request, answer)
        else:
            body = self.refuse(request, answer)
        # Written here, because Twisted complains in the log about a HEAD whose body is returned.
        request.write(body)
        request.finish()
        return NOT_DONE_YET

    def json(
        self,
        request: Request,
        document: object,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Send ``document`` as JSON."""
        return self.send(request, Answer(to_json(document), JSON, status, headers or {}))

    def refuse(self, request: Request, error: BaseException | None) -> bytes:
        """Send what ``error`` means: a page to a browser, a problem document to a program."""
        refusal = as_refusal(error)
        if refusal is None:
            self._log.failure(
                "{method} {path} failed",
                Failure(error),
                method=request.method.decode("ascii", "replace"),
                path=(request.path or b"").decode("ascii", "replace"),
            )
            refusal = Refusal(
                500, Problem("internal", mark("The fault is logged. Try again in a moment."))
            )
        language = self._languages.of(request)
        title = language.gettext(_TITLES.get(refusal.status, _TITLES[400]))
        detail = language.problem(refusal.problem)
        if wants_html(request):
            answer = Answer(
                to_bytes(self._page(language, refusal, title, detail)),
                HTML,
                refusal.status,
                refusal.headers,
            )
        else:
            document = problem_document(language, refusal, title, detail, request.path)
            answer = Answer(to_json(document), PROBLEM_JSON, refusal.status, refusal.headers)
        return self.send(request, answer)


def _has_already(condition: str, tag: str) -> bool:
    """Return whether If-None-Match says that who asks has this (RFC 9110 section 13.1.2)."""
    tags = [one.strip().removeprefix("W/") for one in condition.split(",")]
    return condition.strip() == "*" or tag.removeprefix("W/") in tags


def problem_document(
    language: Language, refusal: Refusal, title: str, detail: str, path: bytes | None
) -> dict[str, Any]:
    """Return the RFC 9457 document of ``refusal``."""
    document: dict[str, Any] = {
        "type": PROBLEM_TYPE + refusal.problem.code,
        "title": title,
        "status": refusal.status,
        "detail": detail,
    }
    if path:
        document["instance"] = path.decode("latin-1")
    if refusal.errors:
        document["errors"] = {
            name: {"code": problem.code, "message": language.problem(problem)}
            for name, problem in refusal.errors.items()
        }
    return document


def wants_html(request: Request) -> bool:
    """Tell whether a person's browser asks for a page."""
    path = request.path or b""
    if path.startswith((b"/api/", b"/healthz", b"/readyz")):
        return False
    return "text/html" in header(request, b"accept").lower()


def to_json(document: object) -> bytes:
    """Return ``document`` as JSON text."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return to_bytes(text)


def to_bytes(text: str) -> bytes:
    """Return ``text`` as UTF-8. Paths that visitors asked for may hold what has no such form."""
    return text.encode("utf-8", "replace")
