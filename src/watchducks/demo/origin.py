"""The demo's origin: a small web site, served over HTTP and, for any name, over HTTPS."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from klein import Klein
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet import task
from twisted.internet.interfaces import IReactorTime
from twisted.internet.ssl import ContextFactory
from twisted.web.server import Request, Site

from watchducks.demo.authority import Authority

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>The demo site</title>
<h1>{title}</h1>
<p>This page comes from the demo's origin.</p>
<nav><a href="/">Home</a> <a href="/about">About</a> <a href="/slow">Slow</a>
<a href="/missing">Missing</a> <a href="/broken">Broken</a></nav>
</html>
"""
_SLOW_SECONDS = 0.4


def make_site(clock: IReactorTime) -> Site:
    """Return the web site as a protocol factory: pages of four kinds, something for each chart."""
    app = Klein()

    def page(request: Request, title: str, status: int = 200) -> str:
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.setResponseCode(status)
        return _PAGE.format(title=title)

    @app.route("/")
    def home(request: Request) -> str:
        return page(request, "Ducks ahoy")

    @app.route("/about")
    def about(request: Request) -> str:
        return page(request, "About ducks")

    @app.route("/slow")
    async def slow(request: Request) -> str:
        await task.deferLater(clock, _SLOW_SECONDS)
        return page(request, "A slow duck")

    @app.route("/broken")
    def broken(request: Request) -> str:
        return page(request, "This page is broken", 500)

    @app.route("/<path:path>")
    def missing(request: Request, path: str) -> str:  # noqa: ARG001 -- Klein passes it
        return page(request, "No such page", 404)

    return Site(app.resource())


class AnyName(ContextFactory):
    """TLS for whatever name the client asks: the origin of every site that the demo registers.

    At most 100 names are remembered; a demo has two or three.
    """

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._contexts: dict[str, SSL.Context] = {}
        self._default = self._make("origin.test")
        self._default.set_tlsext_servername_callback(self._choose)

    def getContext(self) -> SSL.Context:
        return self._default

    def _choose(self, connection: SSL.Connection) -> None:
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
        if name and name not in self._contexts and len(self._contexts) < 100:
            try:
                self._contexts[name] = self._make(name)
            except ValueError:
                return  # not a name that a certificate can hold: the default one answers
        if name in self._contexts:
            connection.set_context(self._contexts[name])

    def _make(self, name: str) -> SSL.Context:
        chain, key_pem = self._authority.issue([name])
        key = load_pem_private_key(key_pem, None)
        assert isinstance(key, EllipticCurvePrivateKey)
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        leaf, *others = x509.load_pem_x509_certificates(chain)
        context.use_certificate(X509.from_cryptography(leaf))
        for other in others:
            context.add_extra_chain_cert(X509.from_cryptography(other))
        context.use_privatekey(key)
        return context
