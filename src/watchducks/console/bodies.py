"""Bodies: a request's JSON document or form, read strictly.

The JSON API's errors name what is wrong with the document; what is wrong with its values is said by
:mod:`watchducks.registry.registration`, the same as for the form.
"""

from __future__ import annotations

import json
from email.message import Message
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl

from twisted.web.http import Request

from watchducks.console.answers import Refusal
from watchducks.console.headers import header
from watchducks.console.languages import mark
from watchducks.model.problems import Problem

# The registration form has five fields and Klein's token; more are nobody's browser.
MAX_FORM_FIELDS: Final = 32
# No document of the API nests deeper than two; this bounds the parser's recursion.
MAX_JSON_DEPTH: Final = 16

_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json"


def _check_content_type(request: Request, accepted: str) -> None:
    content_type = Message()
    content_type["Content-Type"] = header(request, b"content-type")
    charset = content_type.get_param("charset", "utf-8")
    if content_type.get_content_type() != accepted:
        problem = Problem("content-type", mark("Send this as {accepted}."), accepted=accepted)
        raise Refusal(415, problem, headers={"Accept": accepted})
    if not isinstance(charset, str) or charset.lower() not in ("utf-8", "utf8"):
        raise Refusal(415, Problem("charset", mark("Send this as UTF-8 text.")))


def _body(request: Request) -> bytes:
    return request.content.read() if request.content is not None else b""


def read_form(request: Request) -> dict[bytes, list[bytes]]:
    """Return the fields of a form as Twisted keeps them in ``request.args``.

    :raises Refusal: 415 for another content type, 400 if it cannot be read.
    """
    _check_content_type(request, _FORM)
    try:
        text = _body(request).decode("ascii")
        fields = parse_qsl(
            text, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS, errors="strict"
        )
    except ValueError:  # UnicodeDecodeError is one, too
        raise Refusal(400, Problem("form", mark("The form cannot be read."))) from None
    values: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        values.setdefault(name.encode("utf-8"), []).append(value.encode("utf-8"))
    return values


def read_json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request's body.

    :raises Refusal: 415 for another content type or charset; 400 if it is not JSON (RFC 8259),
        not an object, has a name twice, or nests too deep.
    """
    _check_content_type(request, _JSON)
    try:
        text = _body(request).decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(400, Problem("encoding", mark("The body is not UTF-8 text."))) from None
    if _depth(text) > MAX_JSON_DEPTH:
        limit = Problem("depth", mark("The JSON nests deeper than {limit}."), limit=MAX_JSON_DEPTH)
        raise Refusal(400, limit)
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        problem = Problem(
            "json",
            mark("The body is not JSON: line {line}, column {column}."),
            line=error.lineno,
            column=error.colno,
        )
        raise Refusal(400, problem) from None
    except ValueError:  # a number of thousands of digits
        raise Refusal(400, Problem("json", mark("The body is not JSON."))) from None
    if not isinstance(document, dict):
        raise Refusal(400, Problem("object", mark("The body is not a JSON object.")))
    return document


def _depth(text: str) -> int:
    """Return how deep brackets nest. Brackets in strings count, too: nobody's values have 16."""
    depth = deepest = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Refusal(400, Problem("duplicate", mark("A name appears twice in the JSON object.")))
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity, which Python accepts and JSON does not know
