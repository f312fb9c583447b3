"""Forms: what Klein's form machinery needs around each POST of a page."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, cast

from klein import Form, RenderableForm, SessionProcurer
from klein.interfaces import ISession, NoSuchSession, SessionMechanism
from markupsafe import Markup
from twisted.python.components import Componentized
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.template import flattenString

from watchducks.console.answers import expired_form
from watchducks.console.bodies import read_form
from watchducks.console.http import ConsoleRequest
from watchducks.console.sessions import LIFE_SECONDS, Session, SignedSessions

_COOKIE = b"session"
# Klein would take a session's identifier from these as well, and then ask for no CSRF token.
_TOKEN_HEADERS = (b"x-auth-token", b"x-insecure-auth-token")
# Names of the fields that Klein itself puts into a form begin with this.
_KLEIN_FIELDS = b"__"
# The one of them that proves a form to be ours (klein._form.CSRF_PROTECTION).
_CSRF_FIELD = b"__csrf_protection__"


class Forms:
    """Gives each request of a form its session and its fields.

    :param sessions: keeps what ties a form to a browser.
    """

    def __init__(self, sessions: SignedSessions) -> None:
        self._sessions = sessions
        self._procurer = SessionProcurer(
            sessions, maxAge=LIFE_SECONDS, secureCookie=_COOKIE, insecureCookie=_COOKIE
        )

    async def prepare(self, request: ConsoleRequest) -> None:
        """Procure the session, and read the body of a POST (Klein's prerequisite).

        :raises Refusal: the body is no form that can be read, or none that was made for the
            session.
        :raises NoSuchSession: a POST without the session that its form was made for.
        """
        for name in _TOKEN_HEADERS:
            request.requestHeaders.removeHeader(name)
        if not request.received_cookies.get(_COOKIE, b"").isascii():
            del request.received_cookies[_COOKIE]
        if request.method == b"HEAD":
            # Klein makes sessions for GET only; nobody will use this one.
            session = await self._sessions.newSession(
                isConfidential=False, authenticatedBy=SessionMechanism.Cookie
            )
            cast(Componentized, request).setComponent(ISession, session)
            return
        if request.method == b"POST":
            request.args = read_form(request)
            for name, values in request.args.items():
                if name.startswith(_KLEIN_FIELDS) and not values[0].isascii():
                    raise expired_form()
        session = await self._procurer.procureSession(request)
        # Klein looks at the token only where a route has fields, and some are a button alone.
        if request.method == b"POST" and not _is_ours(request, session):
            raise expired_form()

    async def present(self, request: ConsoleRequest) -> Session | None:
        """Return the session that the request's cookie names; None without one. Makes none."""
        identifier = request.received_cookies.get(_COOKIE, b"").decode("latin-1")
        try:
            return await self._sessions.loadSession(
                identifier, isConfidential=False, authenticatedBy=SessionMechanism.Cookie
            )
        except NoSuchSession:
            return None


def _is_ours(request: ConsoleRequest, session: Session) -> bool:
    """Return whether a form was made for this session."""
    shown = request.args.get(_CSRF_FIELD, [b""])[0]
    return hmac.compare_digest(shown, session.identifier.encode())


async def csrf_field(session: Session) -> Markup:
    """Return the hidden input that proves a form to be ours: Klein's."""
    form = RenderableForm(
        Form([]), session, "", "POST", RenderableForm.ENCTYPE_URL_ENCODED, "utf-8"
    )
    html = b"".join([await flattenString(None, tag) for tag in form.glue()])
    return Markup(html.decode("utf-8"))  # noqa: S704  twisted.web.template has escaped it


Handler = Callable[..., Awaitable[Any]]


def form_route(route: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap a Klein route so that a wrong CSRF token is refused by a page of ours.

    Klein refuses by a resource of its own, the only resource that a form's route ever returns.
    """

    def decorate(router: Handler) -> Any:
        @wraps(router)
        async def guarded(instance: object, request: IRequest, **arguments: Any) -> Any:
            result = await router(instance, request, **arguments)
            if isinstance(result, Resource):
                raise expired_form()
            return result

        return route(guarded)

    return decorate
