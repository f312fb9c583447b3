"""What machines ask: whether the process lives, whether it can work, what it measures."""

from __future__ import annotations

from watchducks.console.access import bearer_token
from watchducks.console.answers import Answer, Answers, Refusal
from watchducks.console.headers import header
from watchducks.console.http import ConsoleRequest, is_local
from watchducks.console.interfaces import Readiness, Sites
from watchducks.console.languages import mark
from watchducks.console.routing import Routes, router
from watchducks.exposition import CONTENT_TYPE, Exposition
from watchducks.model.problems import Problem

PATHS = (b"/healthz", b"/readyz", b"/metrics")


class Machines(Routes):
    """The routes of :data:`PATHS`."""

    app = router()

    def __init__(
        self, *, sites: Sites, readiness: Readiness, exposition: Exposition, answers: Answers
    ) -> None:
        super().__init__(answers)
        self._sites = sites
        self._readiness = readiness
        self._exposition = exposition

    @app.route("/healthz", methods=["GET"])
    async def healthz(self, request: ConsoleRequest) -> bytes:
        """Say that the process answers."""
        return self._answers.json(request, {"status": "ok"})

    @app.route("/readyz", methods=["GET"])
    async def readyz(self, request: ConsoleRequest) -> bytes:
        """Say whether it can do its work, and which part cannot."""
        checks = self._readiness.checks()
        ready = all(checks.values())
        document = {"status": "ok" if ready else "unavailable", "checks": dict(checks)}
        return self._answers.json(request, document, 200 if ready else 503)

    @app.route("/metrics", methods=["GET"])
    async def metrics(self, request: ConsoleRequest) -> bytes:
        """Show Prometheus what this host measures of itself, and of its sites by name: only to who
        is on this host, or has an admin's token."""
        if not is_local(request):
            token = bearer_token(header(request, b"authorization"))
            # No site has this name, so no owner's token is good for it.
            if not await self._sites.authorise("", token):
                raise Refusal(403, Problem("forbidden", mark("This takes an admin's token.")))
        headers = {"Cache-Control": "no-store"}
        answer = Answer(self._exposition.text(), CONTENT_TYPE, headers=headers)
        return self._answers.send(request, answer)
