"""The OpenAPI 3.1 document, made of what the endpoints declare."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from watchducks import __version__
from watchducks.analytics.rollups import FACETS
from watchducks.console.endpoints import Endpoint, Token
from watchducks.console.ranks import METRICS
from watchducks.console.shapes import TEXT, WHOLE, Schema, one_of, record, table

PATH: Final = "/api/openapi.json"

PROBLEM: Final = record(
    {"type": TEXT, "title": TEXT, "status": WHOLE, "detail": TEXT},
    {
        "instance": TEXT,
        "errors": table(record({"code": TEXT, "message": TEXT})),
    },
)

# Whatever is asked: an address that is no text, a host that is not ours, too many requests, and a
# database that is away.
_EVERYWHERE: Final = (400, 421, 429, 503)

_PLACES: Final[Mapping[str, tuple[str, Schema]]] = {
    "name": ("The site's name.", {"type": "string", "minLength": 1}),
    "dimension": ("What requests are told apart by.", one_of(*FACETS)),
    "number": ("The number of a token.", {"type": "string", "minLength": 1}),
    "metric": ("What sites are ranked by.", one_of(*METRICS)),
}

_DESCRIPTION: Final = (
    "The same data as the console's pages. Times are RFC 3339 in UTC, but for `time` of points,"
    " which is the beginning of a bucket in POSIX seconds. Sentences for people follow"
    " Accept-Language. Errors are problem documents (RFC 9457)."
)


def document(endpoints: Iterable[Endpoint], url: str) -> dict[str, Any]:
    """Return the document. :param url: how people reach the console."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "WatchDucks",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": url}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _identifier(endpoint),
        "summary": endpoint.summary,
        "parameters": [
            *(
                {
                    "name": place,
                    "in": "path",
                    "required": True,
                    "description": _PLACES[place][0],
                    "schema": _PLACES[place][1],
                }
                for place in endpoint.places
            ),
            *(
                {
                    "name": query.name,
                    "in": "query",
                    "description": query.description,
                    "schema": query.schema,
                }
                for query in endpoint.query
            ),
        ],
        "responses": _responses(endpoint),
    }
    if endpoint.body is not None:
        content = {"application/json": {"schema": endpoint.body}}
        operation["requestBody"] = {"required": True, "content": content}
    if endpoint.token is not Token.NONE:
        # With an empty alternative: it may be left out.
        alternatives: list[dict[str, list[str]]] = [{"token": []}]
        operation["security"] = (
            alternatives if endpoint.token is Token.NEEDED else [*alternatives, {}]
        )
    return operation


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    success: dict[str, Any] = {"description": HTTPStatus(endpoint.status).phrase}
    if endpoint.answer is not None:
        success["content"] = {media: {"schema": endpoint.answer} for media in endpoint.media}
    if endpoint.headers:
        success["headers"] = {
            name: {"description": says, "schema": TEXT} for name, says in endpoint.headers.items()
        }
    problems = {*_EVERYWHERE, *endpoint.problems}
    if endpoint.places:
        problems.add(404)
    if endpoint.token is not Token.NONE:
        problems |= {401, 403}
    if endpoint.body is not None:
        problems |= {413, 415, 422}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(endpoint.status): success,
        **{
            str(status): {"description": HTTPStatus(status).phrase, "content": problem}
            for status in sorted(problems)
        },
    }


def _identifier(endpoint: Endpoint) -> str:
    """Return such as ``get_site_traffic``; a place makes one of many: sites/{name} is a site."""
    path = re.sub(r"s/{\w+}", "", endpoint.path.removeprefix("/api/").removeprefix("v1/"))
    return f"{endpoint.method.lower()}_{re.sub('[^a-z0-9]', '_', path)}"
