"""The JSON API of accounts: tokens, an unlisted site's link, the audit trail."""

from __future__ import annotations

from typing import Any, Final

from watchducks.console.access import Access, bearer_token
from watchducks.console.account_pages import PAGE_ENTRIES, wanted_number, wanted_token
from watchducks.console.answers import Answers, Refusal, not_found
from watchducks.console.bodies import read_json_object
from watchducks.console.endpoints import Query, Token, endpoint
from watchducks.console.figures import rfc3339
from watchducks.console.headers import header
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.interfaces import Accounts, Sites
from watchducks.console.languages import mark
from watchducks.console.shapes import COUNT, MOMENT, TEXT, Schema, listing, nullable, one_of, record
from watchducks.console.trails import entry_document
from watchducks.model import accounts as model
from watchducks.model.accounts import Act, Scope, Viewer
from watchducks.model.problems import Problem

_TOKEN: Final[dict[str, Schema]] = {
    "number": COUNT,
    "label": TEXT,
    "scope": one_of(*(scope.value for scope in Scope)),
    "site": nullable(TEXT),
    "created": MOMENT,
    "used": nullable(MOMENT),
}
_NEW_TOKEN: Final = record(
    {"label": TEXT, "scope": one_of(*(scope.value for scope in Scope))}, {"site": TEXT}
)
_TRAIL: Final = record(
    {
        "entries": listing(
            record(
                {
                    "number": COUNT,
                    "at": MOMENT,
                    "actor": TEXT,
                    "network": TEXT,
                    "act": one_of(*(act.value for act in Act)),
                    "site": nullable(TEXT),
                    "details": {"type": "object"},
                }
            )
        ),
        "next": nullable(COUNT),
    }
)
_BEFORE: Final = (Query("before", "Only entries below this number: `next` of the page before."),)


class AccountApi:
    """One method a route."""

    def __init__(
        self, *, sites: Sites, accounts: Accounts, access: Access, answers: Answers
    ) -> None:
        self._sites = sites
        self._accounts = accounts
        self._access = access
        self._answers = answers

    @endpoint(
        "GET", "/api/v1/tokens", record({"tokens": listing(record(_TOKEN))}), token=Token.NEEDED
    )
    async def tokens(self, request: ConsoleRequest) -> bytes:
        """List the tokens of an account, which the token that is sent has to be one of."""
        viewer = await self._account(request, Viewer.speaks_for_account)
        found = await self._accounts.tokens_of(viewer.email)
        return self._answers.json(request, {"tokens": [_document(one) for one in found]})

    @endpoint(
        "POST",
        "/api/v1/tokens",
        record({**_TOKEN, "token": TEXT}),
        status=201,
        body=_NEW_TOKEN,
        token=Token.NEEDED,
    )
    async def make_token(self, request: ConsoleRequest) -> bytes:
        """Make a token for one site or for all of the account's: 201 with it, which is shown
        once."""
        viewer = await self._account(request, Viewer.manages_account)
        fields = read_json_object(request)
        his = await self._accounts.sites_of(viewer.email)
        wanted, site = wanted_token(fields, his)
        by = self._access.actor(request)
        made, text = await self._accounts.make_token(viewer.email, *wanted, site, by=by)
        headers = {"Cache-Control": "no-store"}
        return self._answers.json(request, {**_document(made), "token": text}, 201, headers)

    @endpoint("DELETE", "/api/v1/tokens/{number}", None, status=204, token=Token.NEEDED)
    async def revoke_token(self, request: ConsoleRequest, number: str) -> bytes:
        """Forget a token of an account, or the one of the registration of one of its sites."""
        viewer = await self._account(request, Viewer.manages_account)
        by = self._access.actor(request)
        if not await self._accounts.revoke_token(viewer.email, wanted_number(number), by=by):
            raise not_found()
        request.setResponseCode(204)
        return b""

    @endpoint(
        "POST",
        "/api/v1/sites/{name}/share",
        record({"site": TEXT, "share": TEXT}),
        token=Token.NEEDED,
    )
    async def renew_share(self, request: ConsoleRequest, name: str) -> bytes:
        """Give an unlisted site a new link, so that the one before is good no more."""
        site = await self._access.changeable(request, name)
        site = await self._sites.renew_share(site.name, by=self._access.actor(request))
        return self._answers.json(request, {"site": site.name, "share": site.share})

    @endpoint("GET", "/api/v1/sites/{name}/trail", _TRAIL, query=_BEFORE, token=Token.NEEDED)
    async def site_trail(self, request: ConsoleRequest, name: str) -> bytes:
        """Show the owner what was done to his site, by whom and from which network."""
        site = await self._access.owned(request, name)
        return await self._trail(request, site.id)

    @endpoint("GET", "/api/v1/trail", _TRAIL, query=_BEFORE, token=Token.NEEDED)
    async def trail(self, request: ConsoleRequest) -> bytes:
        """Show an admin what was done at all."""
        _ = bearer_token(header(request, b"authorization"))
        if not (await self._access.viewer(request)).admin:
            raise Refusal(403, Problem("forbidden", mark("This takes an admin's token.")))
        return await self._trail(request, None)

    async def _trail(self, request: ConsoleRequest, site_id: int | None) -> bytes:
        before = argument(request, b"before")
        number = None if before is None else wanted_number(before)
        entries = await self._sites.trail(site_id, number, PAGE_ENTRIES)
        following = entries[-1].number if len(entries) == PAGE_ENTRIES else None
        document = {"entries": [entry_document(one) for one in entries], "next": following}
        return self._answers.json(request, document)

    async def _account(self, request: ConsoleRequest, rule: Any) -> Viewer:
        """Return who speaks for an account.

        :raises Refusal: 401 without a token, 403 with one that may not do this.
        """
        _ = bearer_token(header(request, b"authorization"))
        viewer = await self._access.viewer(request)
        if not rule(viewer):
            words = mark("This takes a token of an account, for all of its sites.")
            raise Refusal(403, Problem("forbidden", words))
        return viewer


def _document(token: model.Token) -> dict[str, Any]:
    return {
        "number": token.number,
        "label": token.label,
        "scope": token.scope.value,
        "site": token.site or None,
        "created": rfc3339(token.created),
        "used": rfc3339(token.used) if token.used else None,
    }
