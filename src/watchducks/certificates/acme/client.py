"""Accounts and orders (RFC 8555, section 7). Each order can be taken up again by its URL."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from watchducks.certificates.acme.documents import (
    checked_chain,
    failed_order,
    last_issuer,
    location_of,
    reason_of,
    url_in,
)
from watchducks.certificates.acme.errors import AcmeError, Reason, Rejected, Unavailable
from watchducks.certificates.acme.libraries import AccountKey, Responder, certificate_request
from watchducks.certificates.acme.session import Answer, Session
from watchducks.certificates.acme.together import side_by_side

# Authorizations looked at side by side: an order of 100 names then takes seconds, and no authority
# minds eight connections.
AT_ONCE: Final = 8
# Polling: the first look comes soon, for many authorities are done at once ...
FIRST_POLL_SECONDS: Final = 0.25
POLL_GROWTH: Final = 1.6
MAX_POLL_SECONDS: Final = 10.0
# ... and an authority that wants a longer pause than this while somebody waits is not obeyed.
MAX_POLL_PAUSE_SECONDS: Final = 60.0
# An authority that has not looked at a challenge after five minutes will not today.
POLL_DEADLINE_SECONDS: Final = 300.0
# In a row, of one poll: what is answered to a read changes nothing, so that it can be asked again.
MAX_FAILED_POLLS: Final = 5
# Other chains for one certificate that are looked at.
MAX_ALTERNATES: Final = 8
# RFC 5280 section 5.3.1: superseded, and cessationOfOperation for a site that left.
REASON_SUPERSEDED: Final = 4
REASON_CESSATION: Final = 5


@dataclass(frozen=True, slots=True)
class Binding:
    """Credentials of an account that the sysadmin has at the authority (section 7.3.4).

    :ivar kid: its name. :ivar mac_key: the secret, raw.
    """

    kid: str
    mac_key: bytes = field(repr=False)


class Client:
    """An account at one authority.

    :param responder: of the kind of challenge that is wanted; a wildcard needs ``dns-01``.
    :param contact: a mail address.
    :param preferred_issuer: the common name of the last issuer of the chain that is wanted; where
        no chain has it, or it is "", the authority's own choice is taken.
    """

    def __init__(
        self,
        session: Session,
        responder: Responder,
        *,
        contact: str,
        clock: IReactorTime,
        binding: Binding | None = None,
        preferred_issuer: str = "",
    ) -> None:
        self._log = Logger()
        self._session = session
        self._responder = responder
        self._contact = contact
        self._clock = clock
        self._binding = binding
        self._preferred_issuer = preferred_issuer

    # --- the account ----------------------------------------------------------------------------

    async def sign_in(self) -> str:
        """Find the key's account, or make it; returns its URL. Agrees to the terms of service.

        :raises AcmeError: the authority does not want us.
        """
        if self._session.account is None:
            directory = await self._session.directory()
            url = str(directory["newAccount"])
            wanted: dict[str, Any] = {
                "termsOfServiceAgreed": True,
                "contact": [f"mailto:{self._contact}"],
            }
            if self._binding is not None:
                wanted["externalAccountBinding"] = self._session.key.bound(
                    kid=self._binding.kid, mac_key=self._binding.mac_key, url=url
                )
            answer = await self._session.post(url, wanted, with_key=True)
            if not answer.location:
                raise AcmeError("the authority made an account without a URL")
            self._session.account = answer.location
        return self._session.account

    async def has_account(self) -> bool:
        """Return whether the key has an account; none is made (section 7.3.1).

        :raises AcmeError: the authority does not tell.
        """
        url = str((await self._session.directory())["newAccount"])
        try:
            answer = await self._session.post(url, {"onlyReturnExisting": True}, with_key=True)
        except AcmeError as error:
            if error.kind != "accountDoesNotExist":
                raise
            return False
        self._session.account = answer.location or None
        return True

    async def change_key(self, new: AccountKey) -> None:
        """Give the account another key (section 7.3.5); from then on it signs.

        :raises AcmeError: the old one stays. ``Unavailable``: nobody knows which one holds, and
            :meth:`sign_in` with each of them tells.
        """
        account = await self.sign_in()
        url = url_in(await self._session.directory(), "keyChange")
        wish = {"account": account, "oldKey": self._session.key.public()}
        inner = new.sign(json.dumps(wish).encode(), url=url, nonce=None, account=None)
        await self._session.post(url, json.loads(inner))
        self._session.key = new

    # --- orders ---------------------------------------------------------------------------------

    async def order(self, names: Sequence[str], *, replaces: str = "") -> str:
        """Place an order and return its URL.

        :param replaces: the renewal id of the certificate that it renews (RFC 9773 section 5), or
            "". An authority that has seen it replaced gets the order without.
        :raises Rejected: some of the names are not allowed.
        """
        await self.sign_in()
        directory = await self._session.directory()
        wanted: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name} for name in names]}
        if replaces and "renewalInfo" in directory:
            try:
                return location_of(
                    await self._session.post(
                        str(directory["newOrder"]), {**wanted, "replaces": replaces}
                    )
                )
            except AcmeError as error:
                if error.kind not in ("alreadyReplaced", "malformed", "conflict"):
                    raise
                self._log.info("a renewal is ordered as a new certificate: {error}", error=error)
        return location_of(await self._session.post(str(directory["newOrder"]), wanted))

    async def complete(
        self, url: str, names: Sequence[str], key: ec.EllipticCurvePrivateKey
    ) -> bytes:
        """Bring an order to its end, however far it is, and return the chain as PEM, leaf first.

        :param key: the certificate's; the same one each time for one order.
        :raises Rejected: names that could not be validated.
        :raises Unavailable: nothing is decided; the order can be taken up again.
        """
        await self.sign_in()
        order = (await self._read(url)).document()
        if order.get("status") == "pending":
            await self._authorize(order)
            order = await self._poll(url, ("pending",))
        if order.get("status") == "ready":
            order = await self._finalize(url, order, names, key)
        if order.get("status") == "processing":
            order = await self._poll(url, ("ready", "processing"))
        if order.get("status") != "valid":
            raise failed_order(order, names)
        return await self._download(url_in(order, "certificate"), names, key)

    async def _finalize(
        self,
        url: str,
        order: Mapping[str, Any],
        names: Sequence[str],
        key: ec.EllipticCurvePrivateKey,
    ) -> dict[str, Any]:
        request = {"csr": certificate_request(names, key)}
        try:
            answer = await self._session.post(url_in(order, "finalize"), request)
        except AcmeError as error:
            # The answer may be lost, and the order done: it says so itself. "orderNotReady" is
            # what the second request of the same order gets.
            if not isinstance(error, Unavailable) and error.kind != "orderNotReady":
                raise
            again = await self._poll(url, ("processing",))
            if again.get("status") == "ready":
                raise
            return again
        return answer.document()

    async def _authorize(self, order: Mapping[str, Any]) -> None:
        """Have every pending authorization of ``order`` decided.

        :raises Rejected: those that failed; the others are valid, and stay so for the next order.
        """
        urls = order.get("authorizations")
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
            raise AcmeError("the authority's order has no list of authorizations")
        found = await side_by_side(AT_ONCE, self._authorization, urls)
        pending = [one for one in found if one is not None]
        if not pending:
            return
        try:
            # All at once: what is slow is waiting until everybody has the answers.
            await side_by_side(len(pending), self._answer, pending)
            reasons = await side_by_side(AT_ONCE, self._validate, pending)
        finally:
            await side_by_side(len(pending), self._answer_no_more, pending)
        failed = {one.name: reason for one, reason in zip(pending, reasons, strict=True) if reason}
        if failed:
            raise Rejected(failed)

    async def _authorization(self, url: str) -> _Pending | None:
        """Read one; None: nothing is to be done for it."""
        document = (await self._read(url)).document()
        name = str((document.get("identifier") or {}).get("value", "")).lower()
        status = document.get("status")
        if status == "valid":
            return None
        if status != "pending":
            raise Rejected({name: reason_of(document)})
        for offer in document.get("challenges") or ():
            if isinstance(offer, dict) and offer.get("type") == self._responder.challenge_type:
                challenge, response = self._session.key.challenge(
                    self._responder.challenge_type, str(offer.get("token"))
                )
                return _Pending(url, name, url_in(offer, "url"), challenge, response)
        kind = self._responder.challenge_type
        raise Rejected({name: Reason("", f"the authority does not offer {kind} for it")})

    async def _answer(self, one: _Pending) -> None:
        await self._responder.start_responding(one.name, one.challenge, one.response)

    async def _answer_no_more(self, one: _Pending) -> None:
        await self._responder.stop_responding(one.name, one.challenge, one.response)

    async def _validate(self, one: _Pending) -> Reason | None:
        """Ask the authority to look, and return why it failed, or None.

        It looks from several places: the answer has to stay until the authorization is decided.
        """
        try:
            await self._session.post(one.challenge_url, {})
        except AcmeError as error:
            if isinstance(error, Unavailable):
                pass  # whether it was heard is seen below
            elif error.kind not in ("malformed", "conflict"):
                raise
        document = await self._poll(one.url, ("pending",))
        return None if document.get("status") == "valid" else reason_of(document)

    async def _download(
        self, url: str, names: Sequence[str], key: ec.EllipticCurvePrivateKey
    ) -> bytes:
        answer = await self._read(url, accept="application/pem-certificate-chain")
        chosen = checked_chain(answer.body, names, key)
        if self._preferred_issuer and last_issuer(chosen) != self._preferred_issuer:
            for alternate in answer.links.get("alternate", ())[:MAX_ALTERNATES]:
                other = await self._read(alternate, accept="application/pem-certificate-chain")
                chain = checked_chain(other.body, names, key)
                if last_issuer(chain) == self._preferred_issuer:
                    chosen = chain
                    break
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chosen)

    async def revoke(self, leaf: x509.Certificate, reason: int) -> None:
        """Revoke a certificate of this account (section 7.6); one that is revoked is fine.

        :raises AcmeError: it stays valid.
        """
        await self.sign_in()
        der = leaf.public_bytes(serialization.Encoding.DER)
        wish = {"certificate": _base64url(der), "reason": reason}
        try:
            await self._session.post(str((await self._session.directory())["revokeCert"]), wish)
        except AcmeError as error:
            if error.kind != "alreadyRevoked":
                raise

    async def renewal_info(self, renewal_id: str) -> Answer | None:
        """Return what the authority says of a renewal (RFC 9773 section 4.1); None: it has none."""
        url = (await self._session.directory()).get("renewalInfo")
        if not isinstance(url, str):
            return None
        return await self._session.get(f"{url.rstrip('/')}/{renewal_id}")

    # --- reading --------------------------------------------------------------------------------

    async def _read(self, url: str, accept: str = "application/json") -> Answer:
        """Read, again if the authority was away for a moment."""
        pause = FIRST_POLL_SECONDS
        for _ in range(MAX_FAILED_POLLS):
            try:
                return await self._session.post(url, None, accept=accept)
            except Unavailable as error:
                await self._pause(error.retry_seconds, pause)
                pause = min(pause * POLL_GROWTH, MAX_POLL_SECONDS)
        return await self._session.post(url, None, accept=accept)

    async def _poll(self, url: str, undecided: Sequence[str]) -> dict[str, Any]:
        """Read until the status is none of ``undecided``.

        :raises Unavailable: that takes too long.
        """
        deadline = self._clock.seconds() + POLL_DEADLINE_SECONDS
        pause = FIRST_POLL_SECONDS
        while True:
            answer = await self._read(url)
            document = answer.document()
            if document.get("status") not in undecided:
                return document
            if self._clock.seconds() > deadline:
                raise Unavailable(f"undecided after {POLL_DEADLINE_SECONDS:.0f} s: {url}")
            await self._pause(answer.retry_seconds, pause)
            pause = min(pause * POLL_GROWTH, MAX_POLL_SECONDS)

    async def _pause(self, wanted: float | None, otherwise: float) -> None:
        seconds = otherwise if wanted is None else max(wanted, FIRST_POLL_SECONDS)
        await deferLater(self._clock, min(seconds, MAX_POLL_PAUSE_SECONDS))


@dataclass(frozen=True, slots=True)
class _Pending:
    """An authorization to be had. ``challenge`` and ``response`` are acme's."""

    url: str
    name: str
    challenge_url: str
    challenge: Any
    response: Any


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
