"""Routing: what the classes whose methods answer have in common."""

from __future__ import annotations

from typing import Any

from klein import Klein
from twisted.python.failure import Failure

from watchducks.console.answers import Answers


class Routes:
    """The base of a class whose methods answer routes of :func:`router`."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def failed(self, request: Any, failure: Failure) -> bytes:
        """Answer what went wrong: every refusal, and every fault of ours, comes here."""
        return self._answers.refuse(request, failure.value)


def router() -> Klein:
    """Return what a class that is :class:`Routes` declares its routes with."""
    app = Klein()
    # A path with two slashes is another path; redirecting it would build a link out of it.
    app.url_map.merge_slashes = False
    app.handle_errors(Exception)(Routes.failed)
    return app
