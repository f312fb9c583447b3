"""The JSON API of our accounts at certificate authorities, for those who run the service."""

from __future__ import annotations

from typing import Final

from watchducks.console.access import Access, bearer_token
from watchducks.console.answers import Answers, Refusal
from watchducks.console.endpoints import Token, endpoint
from watchducks.console.headers import header
from watchducks.console.http import ConsoleRequest
from watchducks.console.interfaces import AccountKeys
from watchducks.console.languages import mark
from watchducks.console.shapes import FLAG, record
from watchducks.model.certificates import ACCOUNT_KEYS_SECONDS
from watchducks.model.problems import Problem

_NO_AUTHORITY: Final = Problem(
    "no-authority", mark("No certificate authority is configured, so there is no account.")
)
_JUST_NOW: Final = Problem(
    "too-soon", mark("Other keys were asked for just now; try again in some minutes.")
)


class CertificateApi:
    """:param keys: of our accounts; None: we have none."""

    def __init__(self, *, keys: AccountKeys | None, access: Access, answers: Answers) -> None:
        self._keys = keys
        self._access = access
        self._answers = answers

    @endpoint(
        "POST",
        "/api/v1/certificates/account-keys",
        record({"wanted": FLAG}),
        status=202,
        problems=(409, 429),
        token=Token.NEEDED,
    )
    async def roll_over(self, request: ConsoleRequest) -> bytes:
        """Give our accounts at certificate authorities other keys, as soon as no order is under
        way: 202; the trail says when it was done. At most every ten minutes, for admins."""
        _ = bearer_token(header(request, b"authorization"))
        viewer = await self._access.viewer(request)
        if not (viewer.admin and viewer.write):
            raise Refusal(403, Problem("forbidden", mark("This takes an admin's token.")))
        if self._keys is None:
            raise Refusal(409, _NO_AUTHORITY)
        by = self._access.actor(request)
        if not await self._keys.wish_account_keys(by=by, every_seconds=ACCOUNT_KEYS_SECONDS):
            raise Refusal(429, _JUST_NOW, headers={"Retry-After": str(ACCOUNT_KEYS_SECONDS)})
        return self._answers.json(request, {"wanted": True}, 202)
