"""Other keys for our accounts, over the API: for admins, and not too often."""

from __future__ import annotations

import pytest_twisted

from tests.unit.console.driver import Driver
from tests.unit.console.fakes import ADMIN
from watchducks.model.certificates import ACCOUNT_KEYS_SECONDS

PATH = "/api/v1/certificates/account-keys"


def test_an_admin_asks_for_other_keys_and_not_again_at_once() -> None:
    driver = Driver()
    reply = driver.api("POST", PATH, {}, ADMIN)
    assert (reply.status, reply.json) == (202, {"wanted": True})
    again = driver.api("POST", PATH, {}, ADMIN)
    assert (again.status, again.headers["retry-after"]) == (429, str(ACCOUNT_KEYS_SECONDS))
    driver.clock.advance(ACCOUNT_KEYS_SECONDS)
    assert driver.api("POST", PATH, {}, ADMIN).status == 202
    assert len(driver.account_keys.wanted) == 2


@pytest_twisted.ensureDeferred
async def test_nobody_else_does() -> None:
    driver = Driver()
    for token in ("", await driver.add()):
        assert driver.api("POST", PATH, {}, token).status in (401, 403)
    assert driver.account_keys.wanted == []


class WithoutAuthorities(Driver):
    has_authorities = False


def test_without_an_authority_there_is_no_account() -> None:
    driver = WithoutAuthorities()
    reply = driver.api("POST", PATH, {}, ADMIN)
    assert reply.status == 409
    assert "there is no account" in reply.json["detail"]
