"""The API as one resource: its routes, its document, how often one may ask, and what goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource

from watchducks.console import openapi
from watchducks.console.answers import Answers, Refusal
from watchducks.console.endpoints import declared, endpoint, routes
from watchducks.console.frame import visitor
from watchducks.console.headers import header
from watchducks.console.http import ConsoleRequest
from watchducks.console.languages import mark
from watchducks.console.rates import RateLimit
from watchducks.console.ready import Ready
from watchducks.model.problems import Problem

# A program that follows a site asks once a second; each answer costs us a millisecond or two.
TOKEN_PER_SECOND: Final = 20.0
TOKEN_BURST: Final = 100
# Behind one address may be an office, or a proxy with everybody behind it: this bounds what a
# single program without a token can cost, at about half a processor.
ADDRESS_PER_SECOND: Final = 300.0
ADDRESS_BURST: Final = 1000
# Longer ones are no tokens of ours: they are not remembered.
_MAX_TOKEN: Final = 256


class ApiLimits:
    """How often one address, and one token, may ask.

    Made-up tokens are no way around it: they count for their address all the same.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._addresses = RateLimit(ADDRESS_PER_SECOND, ADDRESS_BURST, clock)
        self._tokens = RateLimit(TOKEN_PER_SECOND, TOKEN_BURST, clock)

    def check(self, request: ConsoleRequest) -> None:
        """Count one request. :raises Refusal: 429, there were too many."""
        token = header(request, b"authorization")[:_MAX_TOKEN]
        if not self._addresses.allows(visitor(request)) or (
            token and not self._tokens.allows(token)
        ):
            problem = Problem("too-many", mark("Too many requests; try again in a second."))
            raise Refusal(429, problem, headers={"Retry-After": "1"})


class ApiRoutes(Resource):
    """Everything below /api/.

    :param owners: whose methods answer (:mod:`watchducks.console.endpoints`).
    :param url: how people reach the console.
    :param ready: keeps what anybody may see.
    """

    isLeaf = True

    def __init__(
        self,
        owners: Sequence[object],
        answers: Answers,
        url: str,
        ready: Ready,
        *,
        clock: IReactorTime,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._answers = answers
        self._ready = ready
        self._limits = ApiLimits(clock)
        owners = [*owners, self]
        self.document = openapi.document([each for each, _ in declared(owners)], url)
        app = routes(owners)
        app.handle_errors(Exception)(self._failed)
        self._routes: IResource = app.resource()

    def render(self, request: ConsoleRequest) -> Any:
        """Answer, unless there were too many requests."""
        try:
            self._limits.check(request)
        except Refusal as refusal:
            return self._answers.deliver(request, refusal)
        return self._ready.render(request, self._routes)

    @endpoint("GET", openapi.PATH, {"type": "object"})
    async def openapi(self, request: ConsoleRequest) -> bytes:
        """Describe this API, in OpenAPI 3.1."""
        return self._answers.json(request, self.document)

    def _failed(self, request: Any, failure: Failure) -> bytes:
        return self._answers.refuse(request, failure.value)
