"""Calls of the console's JSON API."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Final
from urllib.parse import quote, urlencode

import treq
from twisted.internet.error import ConnectError
from twisted.web.client import ResponseFailed

from watchducks import settings as settings_module
from watchducks.cli.common import CommandError

# The console answers from memory or one query; longer than this, something is wrong with it.
API_SECONDS: Final = 10.0


def console_of(options: argparse.Namespace) -> str:
    """Return the console's URL, without a slash at its end."""
    return str(options.url or settings_module.find(options.config).console.url).rstrip("/")


async def ask(
    method: str, url: str, options: argparse.Namespace, body: object = None
) -> tuple[int, Any]:
    """Return the status and the decoded JSON of one API call.

    :raises CommandError: nothing answers there, or not a console.
    """
    headers: dict[bytes | str, bytes | str] = {"accept": "application/json"}
    token = options.token or os.environ.get("WATCHDUCKS_TOKEN")
    if token:
        headers["authorization"] = f"Bearer {token}"
    arguments: dict[str, Any] = {} if body is None else {"json": body}
    try:
        response = await treq.request(
            method, url, headers=headers, timeout=API_SECONDS, persistent=False, **arguments
        )
        text = await response.text("utf-8")  # as JSON is, which says no charset (RFC 8259)
    except (ConnectError, ResponseFailed, ValueError) as error:
        raise CommandError(f"{url} does not answer ({error}); is the appliance running?") from error
    try:
        return response.code, json.loads(text) if text.strip() else None
    except ValueError:
        raise CommandError(f"{url} is not a WatchDucks console ({response.code})") from None


async def done(method: str, url: str, options: argparse.Namespace, body: object = None) -> Any:
    """Return the answer's body if the call succeeded.

    :raises CommandError: with what the problem document says (RFC 9457).
    """
    code, answer = await ask(method, url, options, body)
    if code < 300:
        return answer
    problem = answer if isinstance(answer, dict) else {}
    fields = problem.get("errors")
    if isinstance(fields, dict):
        found = [f"{field}: {error['message']}" for field, error in fields.items()]
        raise CommandError("; ".join(found))
    raise CommandError(str(problem.get("detail") or problem.get("title") or f"status {code}"))


async def all_sites(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Follow the pages of the list."""
    sites: list[Any] = []
    after: str | None = None
    while True:
        query = {"cohort": options.cohort, "cursor": after}
        given = {key: value for key, value in query.items() if value is not None}
        body = await done("GET", f"{url}?{urlencode(given)}", options)
        sites.extend(body["sites"])
        after = body.get("next")
        if after is None:
            return {"sites": sites}


def segment(name: str) -> str:
    """Return a name as one segment of a path."""
    return quote(name, safe="")
