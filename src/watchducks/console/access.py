"""Access: who asks, and which sites he may see and change. Every page and endpoint goes through it.

A program shows a token (``Authorization: Bearer``); a person is signed in, has shown a site's token
in his session, or has followed an unlisted site's link. A cookie lets nobody change anything
through the API: another site's page could make his browser send it.

A site that somebody may not see is not there for him: the refusal is the one of a name that nobody
has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from watchducks.console.answers import Refusal, no_site
from watchducks.console.forms import Forms
from watchducks.console.headers import header
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.interfaces import Accounts, Sites
from watchducks.console.languages import mark
from watchducks.console.owners import MAX_TOKEN_CHARACTERS, Owners
from watchducks.model.accounts import ANYBODY, Actor, Viewer
from watchducks.model.networks import shortened
from watchducks.model.problems import Problem
from watchducks.model.sites import Site, Visibility
from watchducks.proxy.peers import address_of, peer_at, visitor_of
from watchducks.settings_values import Network

_SESSION_COOKIE: Final = "sign_in"
# A browser believes a cookie with this prefix only from us, by https, and for this host alone, so
# that nobody at a neighbouring name can give it one of his own.
_HOST_PREFIX: Final = "__Host-"
# Before a site's number: the link of an unlisted site that was followed.
_SHARE_COOKIE: Final = "share_"
SHARE_ARGUMENT: Final = b"share"
# Links of unlisted sites that one browser shows at a time; the header is bounded besides.
MAX_SHARES: Final = 50
# A follower of a link comes back to it within a month, or follows it again.
SHARE_SECONDS: Final = 30 * 24 * 3600


class Access:
    """
    :param trusted: whose word about who asks is believed (``proxy.trusted_peers``).
    """

    def __init__(
        self,
        *,
        sites: Sites,
        accounts: Accounts,
        owners: Owners,
        forms: Forms,
        trusted: Sequence[Network],
    ) -> None:
        self._sites = sites
        self._accounts = accounts
        self._owners = owners
        self._forms = forms
        self._trusted = trusted

    # --- who asks -------------------------------------------------------------------------------

    async def viewer(self, request: ConsoleRequest) -> Viewer:
        """Return who asks; a token or session that is good no more is anybody's."""
        if request.viewer is None:
            found = await self._found(request)
            shares = _shares(request)
            request.viewer = replace(found, shares=shares) if shares else found
        return request.viewer

    async def _found(self, request: ConsoleRequest) -> Viewer:
        if header(request, b"authorization"):
            token = bearer_token(header(request, b"authorization"))
            good = len(token) <= MAX_TOKEN_CHARACTERS
            return (await self._accounts.identify(token) if good else None) or ANYBODY
        secret = self.session_of(request)
        return (await self._accounts.in_session(secret) if secret else None) or ANYBODY

    def actor(self, request: ConsoleRequest, viewer: Viewer | None = None) -> Actor:
        """Return who does what is asked for, as the audit trail has it."""
        name = (viewer or request.viewer or ANYBODY).name
        return Actor(name or "visitor", self.network(request))

    def network(self, request: ConsoleRequest) -> str:
        """Return the network that a request comes from, shortened; "" if it has none."""
        return shortened(self.address(request))

    def address(self, request: ConsoleRequest) -> str:
        """Return the address that a request comes from; "" if it has none."""
        peer = peer_at(address_of(request.getClientAddress()), self._trusted)  # type: ignore[no-untyped-call]
        fields = [
            (name, value)
            for name, values in request.requestHeaders.getAllRawHeaders()
            for value in values
        ]
        address, _ = visitor_of(peer, "http", fields, self._trusted)
        return address

    # --- which sites ----------------------------------------------------------------------------

    async def seen(self, request: ConsoleRequest, name: str) -> Site:
        """Return the site called ``name``. :raises Refusal: 404, there is none for who asks."""
        site = await self._sites.site(name)
        if site is None or not (await self._viewer_of(request, site)).may_see(site):
            raise no_site(name)
        return site

    async def may_change(self, request: ConsoleRequest, site: Site) -> bool:
        """Return whether who asks may change a site, on its pages."""
        return (await self._viewer_of(request, site)).may_change(site)

    async def owns(self, request: ConsoleRequest, site: Site) -> bool:
        """Return whether who asks may see, on a site's pages, what only its owner may."""
        return (await self._viewer_of(request, site)).owns(site)

    async def changeable(self, request: ConsoleRequest, name: str) -> Site:
        """Return the site called ``name`` if a program may change it, by the token that it shows.

        :raises Refusal: 401 without a token, 404 without such a site, 403 with a wrong token.
        """
        return await self._judged(request, name, Viewer.may_change)

    async def owned(self, request: ConsoleRequest, name: str) -> Site:
        """Return the site called ``name`` if a program may read what only its owner may.

        :raises Refusal: as for :meth:`changeable`.
        """
        return await self._judged(request, name, Viewer.owns)

    async def _judged(
        self, request: ConsoleRequest, name: str, rule: Callable[[Viewer, Site], bool]
    ) -> Site:
        bearer_token(header(request, b"authorization"))
        site = await self.seen(request, name)
        if not rule(await self.viewer(request), site):
            problem = Problem("forbidden", mark("This token is not good for this site."))
            raise Refusal(403, problem)
        return site

    async def _viewer_of(self, request: ConsoleRequest, site: Site) -> Viewer:
        """Return who asks, with what he has shown for this site in his session."""
        viewer = await self.viewer(request)
        if viewer.may_change(site) or header(request, b"authorization"):
            return viewer
        session = await self._forms.present(request)
        if session and await self._owners.may_change(session, site.id, site.name):
            name = viewer.name or f"owner token of {site.name}"
            viewer = replace(viewer, owned=viewer.owned | {site.id}, name=name)
            request.viewer = viewer
        return viewer

    # --- cookies --------------------------------------------------------------------------------

    def session_of(self, request: ConsoleRequest) -> str:
        """Return the secret of the session that a request shows; "" without one."""
        octets = request.received_cookies.get(session_cookie(request).encode(), b"")
        return octets.decode("ascii", "replace")[:MAX_TOKEN_CHARACTERS]

    def keep_share(self, request: ConsoleRequest, site: Site) -> None:
        """Remember in the browser that an unlisted site's link was followed."""
        asked = argument(request, SHARE_ARGUMENT)
        if asked and site.visibility is Visibility.UNLISTED and asked == site.share:
            request.addCookie(f"{_SHARE_COOKIE}{site.id}", asked, max_age=str(SHARE_SECONDS))


def session_cookie(request: ConsoleRequest) -> str:
    """Return the name of the cookie that holds a session's secret."""
    return (_HOST_PREFIX if request.site.secure else "") + _SESSION_COOKIE


def _shares(request: ConsoleRequest) -> frozenset[str]:
    """Return the secrets of the links that a request's browser has followed, or follows now."""
    found = [
        value.decode("ascii", "replace")
        for name, value in request.received_cookies.items()
        if name.startswith(_SHARE_COOKIE.encode())
    ][:MAX_SHARES]
    return frozenset(filter(None, [*found, argument(request, SHARE_ARGUMENT)]))


def bearer_token(authorization: str) -> str:
    """Return the token of an Authorization header (RFC 6750 section 2.1).

    :raises Refusal: 401, there is none.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        problem = Problem("unauthorized", mark("Send the site's token as Authorization: Bearer."))
        raise Refusal(401, problem, headers={"WWW-Authenticate": 'Bearer realm="watchducks"'})
    return token.strip()
