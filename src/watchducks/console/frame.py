"""The frame of every page: rendered in the visitor's language, with the headers that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final
from urllib.parse import urlencode

from watchducks.background import Turns
from watchducks.console.access import session_cookie
from watchducks.console.answers import HTML, Answer, Answers, Refusal, as_refusal, to_bytes
from watchducks.console.clocks import clock_of, keep_choice
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.languages import COOKIE, COOKIE_SECONDS, NAMES, Languages
from watchducks.console.rendering import Templates
from watchducks.model.problems import InvalidFields, Problem

# Of this one view of a page.
_NOT_KEPT: Final = (b"lang", b"tz", b"registered", b"share")
# Pieces of a template's text that are written in one turn of the reactor: half a millisecond.
PIECES: Final = 100


class Frame:
    """Sends pages."""

    def __init__(
        self,
        templates: Templates,
        languages: Languages,
        answers: Answers,
        now: Callable[[], float],
        turns: Turns,
    ) -> None:
        self._turns = turns
        self._now = now
        self._templates = templates
        self._languages = languages
        self._answers = answers

    def page(
        self,
        request: ConsoleRequest,
        template: str,
        *,
        status: int = 200,
        secret: bool = False,
        **values: Any,
    ) -> bytes:
        """Send a page. ``secret``: it holds a token, so it is neither cached nor compressed."""
        pieces = self._pieces(request, template, values)
        headers = {"Cache-Control": "no-store"} if secret else {}
        return self._answers.send(
            request, Answer(to_bytes("".join(pieces)), HTML, status, headers, compress=not secret)
        )

    async def long_page(self, request: ConsoleRequest, template: str, **values: Any) -> bytes:
        """Send a page that takes longer to write than visitors of the proxy should wait."""
        text = []
        await self._turns.next()
        pieces = self._pieces(request, template, values)
        while part := list(islice(pieces, PIECES)):
            text += part
            await self._turns.next()
        body = to_bytes("".join(text))
        await self._turns.next()
        return self._answers.send(request, Answer(body, HTML))

    def _pieces(
        self, request: ConsoleRequest, template: str, values: Mapping[str, Any]
    ) -> Iterator[str]:
        language = self._languages.of(request)
        if argument(request, b"lang") == language.code:
            request.addCookie(COOKIE, language.code, max_age=str(COOKIE_SECONDS))
        clock = clock_of(request)
        keep_choice(request)
        return self._templates.pieces(
            language,
            template,
            language_links=language_links(request),
            clock=clock,
            now=self._now(),
            zone_form=kept_arguments(request),
            signed_in=bool(request.received_cookies.get(session_cookie(request).encode())),
            **values,
        )

    def redirect(self, request: ConsoleRequest, location: str) -> bytes:
        """Send the browser to another page of ours after a form."""
        return self._answers.send(
            request, Answer(b"", HTML, 303, {"Location": location, "Cache-Control": "no-store"})
        )


def visitor(request: ConsoleRequest) -> str:
    """Return what tells visitors apart: the address; all who come by a local socket are one."""
    address = request.getClientAddress()  # type: ignore[no-untyped-call]
    return str(getattr(address, "host", ""))


def told(error: BaseException) -> tuple[Mapping[str, Problem], Refusal]:
    """Return what a form shows of ``error``: beside its fields, and above them all."""
    if isinstance(error, InvalidFields):
        # To a person, what is taken is one more value that is not accepted.
        error = InvalidFields(error.problems)
    refusal = as_refusal(error)
    assert refusal is not None
    return refusal.errors, refusal


def language_links(request: ConsoleRequest) -> Mapping[str, str]:
    """Return language code -> this very page in that language."""
    path = request.path.decode("ascii", "replace")
    kept = kept_arguments(request)
    return {code: f"{path}?{urlencode([*kept, ('lang', code)])}" for code in NAMES}


def kept_arguments(request: ConsoleRequest) -> Sequence[tuple[str, str]]:
    """Return what a link or a form that leads back to this very page takes along."""
    if request.method == b"POST":
        return ()  # these are the fields of a form
    return [
        (name.decode("utf-8"), value.decode("utf-8"))
        for name, values in request.args.items()
        if name not in _NOT_KEPT
        for value in values
    ]
