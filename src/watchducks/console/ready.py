"""Ready answers: what anybody may see is made once for all who look at it.

Kept are answers to who has shown nothing: no token, no session, no link of an unlisted site. So
what only some may see is in none of them, and whoever may see more is never given one. An answer is
good

- until a site changes (:meth:`Ready.forget`): what was made before is given to nobody who asks
  after it;
- as long as nothing has come into the log store; while a newer one is made, the old one is given
  for a moment;
- and only so long, for what changes without either.

Who comes while an answer is made waits for it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from watchducks.background import Tasks, Turns
from watchducks.console.answers import Answers, Prepared
from watchducks.console.clocks import BROWSER_COOKIE, CHOSEN_COOKIE
from watchducks.console.headers import header
from watchducks.console.http import ConsoleRequest
from watchducks.console.interfaces import SiteFigures
from watchducks.console.languages import COOKIE as LANGUAGE
from watchducks.console.languages import Languages
from watchducks.model.accounts import ANYBODY

# A page of a site shows how far its cutover is and whether its origin answers, which no revision
# tells. Its script asks for what is newer. Figures of just before a change are kept no longer.
PAGE_SECONDS: Final = 1.0
# Where figures are all, this only has the period that they are about move on with the clock.
LASTING_SECONDS: Final = 15.0
# For so long after it was still good an answer is given while the next one is made: who waited
# would not see what is new any sooner, and those who wait come all at once in the end. It is made
# within this time unless the log store is too busy.
TOLERATED_SECONDS: Final = 2.0
# Pages and answers of the busiest hundred sites, each of 5 kB and, as it was, of 30.
MOST_READY: Final = 1000
MOST_BYTES: Final = 32 * 1024 * 1024
# Longer addresses, or cookies, are nobody's.
_LONGEST: Final = 500

_SITE: Final = re.compile(rb"/sites/[^/]+")
_LASTING: Final = re.compile(
    rb"/(?:ranking|compare)?"
    rb"|/api/v1/(?:overview|rankings/[^/]+)"
    rb"|/api/v1/sites/[^/]+/(?:traffic|latency|status|visitors|paths|referrers|dns|clients"
    rb"|annotations|facets/[^/]+)"
)
# What shows who asks, or asks for something that is meant for one browser.
_PERSONAL_ARGUMENTS: Final = frozenset({b"lang", b"share", b"registered"})
# What a browser may show all the same; it is part of what is asked for.
_IMPERSONAL_COOKIES: Final = frozenset({LANGUAGE, CHOSEN_COOKIE, BROWSER_COOKIE})
# Language, address, and what cookies say.
Key = tuple[str, bytes, tuple[tuple[bytes, bytes], ...]]


@dataclass(slots=True)
class _Entry:
    """
    :ivar version: of the log store, when it was made.
    :ivar until: when it ends, whatever the version; on the clock.
    :ivar good: when it was last found to be good.
    """

    prepared: Prepared
    version: str
    until: float
    good: float


class Ready:
    """Keeps answers.

    :param figures: tell the version of what they are made of.
    """

    def __init__(
        self,
        answers: Answers,
        languages: Languages,
        figures: SiteFigures,
        turns: Turns,
        *,
        clock: IReactorTime,
    ) -> None:
        self._answers = answers
        self._languages = languages
        self._figures = figures
        self._turns = turns
        self._clock = clock
        self._tasks = Tasks(Logger())
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._bytes = 0
        # What is being made -> who waits for it.
        self._making: dict[Key, list[Deferred[None]]] = {}

    async def stop(self) -> None:
        """Let nobody wait any more."""
        await self._tasks.stop()

    def forget(self) -> None:
        """A site has changed: nothing of what was made, or is being made, counts any more."""
        self._entries.clear()
        self._bytes = 0
        waiting, self._making = self._making, {}
        for waiters in waiting.values():
            self._wake(waiters)

    def render(self, request: ConsoleRequest, resource: IResource) -> int:
        """Answer a request with what is ready, or let ``resource`` answer it."""
        lasting = self._lasting(request)
        if not lasting:
            return cast(int, resource.render(request))
        cookies = tuple(sorted(request.received_cookies.items()))
        key = self._languages.of(request).code, request.uri, cookies
        version = self._figures.known_version
        if version is not None and self._gave(request, key, version):
            return NOT_DONE_YET
        self._tasks.start(self._serve(request, key, lasting, resource), "giving what is ready")
        return NOT_DONE_YET

    def _lasting(self, request: ConsoleRequest) -> float:
        """Return for how long the answer to a request is kept at most; 0: it is not."""
        if (
            request.method != b"GET"
            or len(request.uri) + sum(map(len, request.received_cookies.values())) > _LONGEST
            or header(request, b"authorization")
            or not _IMPERSONAL_COOKIES.issuperset(request.received_cookies)
            or not _PERSONAL_ARGUMENTS.isdisjoint(request.args)
        ):
            return 0.0
        if _LASTING.fullmatch(request.path):
            return LASTING_SECONDS
        return PAGE_SECONDS if _SITE.fullmatch(request.path) else 0.0

    async def _serve(
        self, request: ConsoleRequest, key: Key, lasting: float, resource: IResource
    ) -> None:
        version = await self._figures.version()
        while not request.is_over:
            if self._gave(request, key, version):
                return
            waiters = self._making.get(key)
            if waiters is None:
                self._make(request, key, version, lasting)
                request.render(resource)  # type: ignore[no-untyped-call]
                return
            if self._gave(request, key, None):
                return
            waiter: Deferred[None] = Deferred()
            waiters.append(waiter)
            await waiter

    def _gave(self, request: ConsoleRequest, key: Key, version: str | None) -> bool:
        """Give what is kept, if it is good; without a version, if it was good just now."""
        entry, now = self._entries.get(key), self._clock.seconds()
        if entry is None:
            return False
        if version is None:
            good = now <= entry.good + TOLERATED_SECONDS
        else:
            good = entry.version == version and now < entry.until
        if not good:
            return False
        if version is not None:
            entry.good = now
        self._entries.move_to_end(key)
        self._answers.give(request, entry.prepared)
        return True

    def _make(self, request: ConsoleRequest, key: Key, version: str, lasting: float) -> None:
        """Let what answers ``request`` be kept, and wake who waits for it."""
        waiters = self._making[key] = []
        until, outdated = self._clock.seconds() + lasting, self._figures.outdated

        def ended(_: object) -> None:
            nonlocal until
            if self._making.get(key) is not waiters:
                return  # a site has changed meanwhile
            del self._making[key]
            # Were they its own? Others' cost it only time.
            if self._figures.outdated != outdated:
                until = min(until, self._clock.seconds() + PAGE_SECONDS)
            prepared = request.prepared
            if prepared is not None and _is_for_all(request, prepared):
                self._keep(key, _Entry(prepared, version, until, self._clock.seconds()))
            self._wake(waiters)

        _ = request.notifyFinish().addBoth(ended)

    def _keep(self, key: Key, entry: _Entry) -> None:
        before = self._entries.pop(key, None)
        if before is not None:
            self._bytes -= before.prepared.size
        self._entries[key] = entry
        self._bytes += entry.prepared.size
        while len(self._entries) > MOST_READY or self._bytes > MOST_BYTES:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= oldest.prepared.size

    def _wake(self, waiters: list[Deferred[None]]) -> None:
        for waiter in waiters:
            self._turns.call(partial(waiter.callback, None))


class Shared(Resource):
    """A resource some of whose answers are kept."""

    isLeaf = True

    def __init__(self, resource: IResource, ready: Ready) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._resource = resource
        self._ready = ready

    def render(self, request: ConsoleRequest) -> int:
        """Answer with what is ready, or let the resource answer."""
        return self._ready.render(request, self._resource)


def _is_for_all(request: ConsoleRequest, prepared: Prepared) -> bool:
    """Return whether an answer may be given to others who have shown nothing."""
    return (
        prepared.answer.status == 200
        and "Cache-Control" not in prepared.answer.headers
        and not request.cookies
        and request.viewer in (None, ANYBODY)
    )
