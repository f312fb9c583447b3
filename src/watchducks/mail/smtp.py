"""SMTP: gives a message to a mail server (RFC 5321, submission RFC 6409), on the reactor.

With a user name the conversation is always secured, by STARTTLS (smtp:) or from its beginning
(smtps:), and the server's certificate has to be good for its name. Without one, too, but for a
server on this very machine, where there is nobody to listen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.mail.smtp import (
    CramMD5ClientAuthenticator,
    ESMTPClient,
    LOGINAuthenticator,
    PLAINAuthenticator,
    SMTPClientError,
)
from twisted.python.failure import Failure

from watchducks.model.letters import Undeliverable, Unsent

CONNECT_SECONDS: Final = 15
# RFC 5321 section 4.5.3.2 asks for minutes; a server of one's own that takes longer than this for
# an answer is not well, and the letter is tried again.
ANSWER_SECONDS: Final = 30
# All together, below the lease of a letter.
CONVERSATION_SECONDS: Final = 120
_PORTS: Final = {"smtp": 587, "smtps": 465}
_PEM_END: Final = b"-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server, as ``mail.url`` names it."""

    host: str
    port: int
    tls: bool
    user: str = ""
    password: str = ""

    @classmethod
    def of(cls, url: str) -> Server:
        """Return the server of an ``smtp:`` or ``smtps:`` URL."""
        parts = urlsplit(url)
        return cls(
            parts.hostname or "",
            parts.port or _PORTS[parts.scheme],
            parts.scheme == "smtps",
            unquote(parts.username or ""),
            unquote(parts.password or ""),
        )

    @property
    def secured(self) -> bool:
        """Whether nothing is said to it in the clear."""
        return self.tls or bool(self.user) or not _is_here(self.host)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class SmtpServer:
    """Sends messages through one server, a connection each.

    :param hello: how we call ourselves (the host's name).
    :param ca_file: PEM of authorities that are believed instead of the platform's; None: these.
    :raises OSError, ValueError: ``ca_file`` cannot be read.
    """

    def __init__(
        self, server: Server, *, reactor: Any, hello: str, ca_file: Path | None = None
    ) -> None:
        self._server = server
        self._reactor = reactor
        self._hello = hello.encode("ascii", "replace")
        trust = None if ca_file is None else trustRootFromCertificates(_certificates(ca_file))
        self._tls = optionsForClientTLS(server.host, trustRoot=trust)

    async def send(self, sender: str, recipient: str, message: bytes) -> None:
        """Return when the server has taken the message, and is responsible for it.

        :param message: with CR LF at the ends of its lines.
        :raises Undeliverable: the server refuses this letter.
        :raises Unsent: anything else; it may be there all the same, if the end of the conversation
            was lost.
        """
        server = self._server
        conversation = _Conversation(
            server, sender, recipient, message, hello=self._hello, tls=self._tls
        )
        endpoint: Any = HostnameEndpoint(
            self._reactor, server.host, server.port, timeout=CONNECT_SECONDS
        )
        if server.tls:
            endpoint = wrapClientTLS(self._tls, endpoint)
        factory = Factory.forProtocol(lambda: conversation)
        factory.noisy = False
        try:
            await endpoint.connect(factory)
        except (ConnectError, DNSLookupError, OSError) as error:
            raise Unsent(f"{server}: {_line(error)}") from error
        limit = self._reactor.callLater(CONVERSATION_SECONDS, conversation.break_off)
        try:
            await conversation.outcome
        finally:
            if limit.active():
                limit.cancel()


class _Whole(BytesIO):
    """A file that is read at once: at the borders of the pieces that Twisted would read, it misses
    dots that begin a line (RFC 5321 section 4.5.2), and the rest of the message would be commands.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        del size
        return super().read()


class _Conversation(ESMTPClient):
    """One message's way. Its ``outcome`` fires once, whatever happens."""

    # Twisted's log of the conversation would have the password.
    debug = False
    timeout = ANSWER_SECONDS  # type: ignore[assignment]

    def __init__(
        self, server: Server, sender: str, recipient: str, message: bytes, *, hello: bytes, tls: Any
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            server.password.encode() or None, tls if server.secured else None, hello
        )
        self._server = server
        self._sender: str | None = sender
        self._recipient = recipient
        # Twisted makes CR LF of each LF.
        self._message = _Whole(message.replace(b"\r\n", b"\n"))
        self.requireAuthentication = bool(server.user)
        self.requireTransportSecurity = server.secured
        self.outcome: Deferred[None] = Deferred(lambda _: self.break_off())
        self._decided = False
        user = server.user.encode()
        for kind in (CramMD5ClientAuthenticator, PLAINAuthenticator, LOGINAuthenticator):
            self.registerAuthenticator(kind(user))  # type: ignore[no-untyped-call]

    def esmtpState_starttls(self, code: int, resp: bytes) -> None:
        if self.clearLineBuffer():  # type: ignore[no-untyped-call]
            # Somebody between us has added to what the server says in the clear.
            self._fail(Unsent(f"{self._server}: words behind the answer to STARTTLS"))
            return
        super().esmtpState_starttls(code, resp)  # type: ignore[no-untyped-call]

    def getMailFrom(self) -> str | None:
        sender, self._sender = self._sender, None
        return sender

    def getMailTo(self) -> Sequence[bytes]:
        return [self._recipient.encode("ascii")]

    def getMailData(self) -> BytesIO:
        return self._message

    def sentMail(
        self,
        code: int,
        resp: Any,
        numOk: int,
        addresses: Any,
        log: Any,  # noqa: ARG002  Twisted's
    ) -> None:
        if 200 <= code < 300 and numOk:
            self._decide(None)  # what follows is QUIT, which nobody waits for
            return
        # What was said of the one recipient says more than "no recipients".
        if addresses and not 200 <= addresses[0][1] < 300:
            _, code, resp = addresses[0]
        words = f"{self._server}: {code} {_text(resp)}"
        self._fail(Undeliverable(words) if 500 <= code < 600 else Unsent(words))

    def sendError(self, exc: Exception) -> None:
        # A refusal of us (530, 535, 554 to a greeting) is the sysadmin's, who may mend it.
        if isinstance(exc, SMTPClientError):
            code = f"{exc.code} " if exc.code > 0 else ""
            self._fail(Unsent(f"{self._server}: {code}{_text(exc.resp)}"))
        else:
            self._fail(Unsent(f"{self._server}: {_line(exc)}"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self._fail(Unsent(f"{self._server}: the connection was lost: {_line(reason.value)}"))

    def break_off(self) -> None:
        """End the conversation now."""
        self._fail(Unsent(f"{self._server}: no end of the conversation"))

    def _fail(self, error: Exception) -> None:
        self._decide(error)
        self.setTimeout(None)  # type: ignore[no-untyped-call]
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def _decide(self, error: Exception | None) -> None:
        if self._decided:
            return
        self._decided = True
        if error is None:
            self.outcome.callback(None)
        else:
            self.outcome.errback(error)


def _certificates(path: Path) -> list[Certificate]:
    octets = path.read_bytes()
    found = [part + _PEM_END for part in octets.split(_PEM_END)[:-1]]
    if not found:
        raise ValueError("no certificate in it")
    return [Certificate.loadPEM(part) for part in found]


def _text(words: Any) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    return " ".join(text.split())


def _line(error: BaseException | None) -> str:
    return _text(str(error) or type(error).__name__)
