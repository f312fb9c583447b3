"""Endpoints: each route of the API with what it takes and gives, declared once.

A method that answers is marked with :func:`endpoint`; :func:`routes` makes Klein's routes of the
marks, and :mod:`watchducks.console.openapi` the document, so that neither can be without the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeVar

from klein import Klein

from watchducks.console.shapes import TEXT, Schema

_MARK: Final = "_endpoint"

F = TypeVar("F", bound=Callable[..., Any])


class Token(Enum):
    """Whether an endpoint looks at the Authorization header."""

    NONE = "none"
    MORE = "more"  # with one, the answer has more
    NEEDED = "needed"


@dataclass(frozen=True, slots=True)
class Query:
    """One parameter of the query."""

    name: str
    description: str
    schema: Schema = field(default_factory=lambda: TEXT)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is declared of one route.

    :ivar path: with places such as ``{name}``.
    :ivar answer: the schema of the body; None: there is none.
    :ivar media: its content types.
    :ivar problems: the statuses that it may refuse with, beside those that every endpoint may.
    :ivar headers: of the answer, each with what it says.
    """

    method: str
    path: str
    summary: str
    answer: Schema | None
    status: int = 200
    media: Sequence[str] = ("application/json",)
    query: Sequence[Query] = ()
    body: Schema | None = None
    problems: Sequence[int] = ()
    token: Token = Token.NONE
    headers: Mapping[str, str] | None = None

    @property
    def places(self) -> list[str]:
        """The names of the places in the path."""
        return re.findall(r"{(\w+)}", self.path)


def endpoint(method: str, path: str, answer: Schema | None, **more: Any) -> Callable[[F], F]:
    """Declare what a method answers; the first line of its docstring is the summary."""

    def marked(function: F) -> F:
        summary = (function.__doc__ or "").partition("\n\n")[0]
        declared = Endpoint(method, path, " ".join(summary.split()), answer, **more)
        setattr(function, _MARK, declared)
        return function

    return marked


def declared(owners: Iterable[object]) -> Iterator[tuple[Endpoint, Callable[..., Any]]]:
    """Return each declaration with the bound method that answers, in the order of their classes."""
    for owner in owners:
        for name, attribute in vars(type(owner)).items():
            found = getattr(attribute, _MARK, None)
            if isinstance(found, Endpoint):
                yield found, getattr(owner, name)


def routes(owners: Sequence[object]) -> Klein:
    """Return the routes of all that ``owners`` declare."""
    app = Klein()
    # A path with two slashes is another path; redirecting it would build a link out of it.
    app.url_map.merge_slashes = False
    for found, answers in declared(owners):
        path = re.sub(r"{(\w+)}", r"<\1>", found.path)
        app.route(path, methods=[found.method], endpoint=f"{found.method} {found.path}")(
            _unbound(answers)
        )
    return app


def _unbound(answers: Callable[..., Any]) -> Callable[..., Any]:
    # Klein copies attributes onto what it is given, which a bound method does not take.
    def answer(request: Any, **places: str) -> Any:
        return answers(request, **places)

    return answer
