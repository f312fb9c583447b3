"""The JSON API of the blocklist, for those who run the service."""

from __future__ import annotations

from typing import Any, Final

from watchducks.console.access import Access, bearer_token
from watchducks.console.account_pages import wanted_number
from watchducks.console.answers import Answers, Refusal, not_found
from watchducks.console.bodies import read_json_object
from watchducks.console.endpoints import Token, endpoint
from watchducks.console.figures import rfc3339
from watchducks.console.headers import header
from watchducks.console.http import ConsoleRequest
from watchducks.console.interfaces import Blocks, Sites
from watchducks.console.languages import mark
from watchducks.console.shapes import COUNT, FLAG, MOMENT, TEXT, Schema, listing, one_of, record
from watchducks.model.blocks import Block, BlockKind
from watchducks.model.problems import Problem

_BLOCK: Final[dict[str, Schema]] = {
    "number": COUNT,
    "kind": one_of(*(kind.value for kind in BlockKind)),
    "what": TEXT,
    "reason": TEXT,
    "by": TEXT,
    "created": MOMENT,
}
_SUSPENDED: Final = record({"site": TEXT, "suspended": FLAG})


class BlockApi:
    """One method a route."""

    def __init__(self, *, blocks: Blocks, sites: Sites, access: Access, answers: Answers) -> None:
        self._blocks = blocks
        self._sites = sites
        self._access = access
        self._answers = answers

    @endpoint(
        "GET", "/api/v1/blocks", record({"blocks": listing(record(_BLOCK))}), token=Token.NEEDED
    )
    async def blocks(self, request: ConsoleRequest) -> bytes:
        """Show an admin who and what may not be registered."""
        await self._admin(request)
        found = await self._blocks.blocks()
        return self._answers.json(request, {"blocks": [_document(one) for one in found]})

    @endpoint(
        "POST",
        "/api/v1/blocks",
        record({**_BLOCK, "sites": listing(TEXT)}),
        status=201,
        body=record({"what": TEXT, "reason": TEXT}),
        token=Token.NEEDED,
    )
    async def add(self, request: ConsoleRequest) -> bytes:
        """Block a domain, an address or a network: 201, with the names of the sites that are there
        and go on; see ``suspend``."""
        await self._admin(request)
        fields = read_json_object(request)
        by = self._access.actor(request)
        made = await self._blocks.add(fields.get("what", ""), fields.get("reason", ""), by=by)
        sites = [site.name for site in await self._blocks.sites_of(made)]
        return self._answers.json(request, {**_document(made), "sites": sites}, 201)

    @endpoint("DELETE", "/api/v1/blocks/{number}", None, status=204, token=Token.NEEDED)
    async def remove(self, request: ConsoleRequest, number: str) -> bytes:
        """Remove a block. Sites that were suspended stay so until they are resumed."""
        await self._admin(request)
        by = self._access.actor(request)
        if await self._blocks.remove(wanted_number(number), by=by) is None:
            raise not_found()
        request.setResponseCode(204)
        return b""

    @endpoint("POST", "/api/v1/sites/{name}/suspend", _SUSPENDED, token=Token.NEEDED)
    async def suspend(self, request: ConsoleRequest, name: str) -> bytes:
        """Have DNS answer with the site's own server until it is resumed; for admins."""
        return await self._suspend(request, name, suspended=True)

    @endpoint("POST", "/api/v1/sites/{name}/resume", _SUSPENDED, token=Token.NEEDED)
    async def resume(self, request: ConsoleRequest, name: str) -> bytes:
        """Let a suspended site go on; for admins."""
        return await self._suspend(request, name, suspended=False)

    async def _suspend(self, request: ConsoleRequest, name: str, *, suspended: bool) -> bytes:
        await self._admin(request)
        by = self._access.actor(request)
        site = await self._sites.suspend(name, suspended=suspended, by=by)
        if site is None:
            raise not_found()
        return self._answers.json(request, {"site": site.name, "suspended": site.suspended})

    async def _admin(self, request: ConsoleRequest) -> None:
        _ = bearer_token(header(request, b"authorization"))
        viewer = await self._access.viewer(request)
        if not (viewer.admin and (viewer.write or request.method == b"GET")):
            raise Refusal(403, Problem("forbidden", mark("This takes an admin's token.")))


def _document(block: Block) -> dict[str, Any]:
    return {
        "number": block.number,
        "kind": block.kind.value,
        "what": block.value,
        "reason": block.reason,
        "by": block.by,
        "created": rfc3339(block.created),
    }
