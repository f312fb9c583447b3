"""A mail server that can be told how to misbehave: by whom a message is for. Run as a program.

Arguments: port, folder, "starttls", "tls" or "plain", then certificate and key (of no use for
"plain"). Messages lie in the folder as ``NUMBER.eml``. Users sign in as ducks with the password
"p@ss:word"; only "plain" takes mail from who does not.

Recipients: greylist@ is told 451 until a file ``greylist`` lies in the folder; unknown@ is told
550; dropped@ loses the connection after its message, and stuck@, whose message is kept, gets no
answer to it, each until a file with his name lies there.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

_PORT, _FOLDER, _MODE, _CERTIFICATE, _KEY = sys.argv[1:]


class Handler:
    """What the server does; aiosmtpd calls it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = len(list(folder.glob("*.eml")))

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        word = address.partition("@")[0]
        if word == "greylist" and not (self._folder / "greylist").exists():
            return "451 4.7.1 come again later"
        if word == "unknown":
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        word = envelope.rcpt_tos[0].partition("@")[0]
        if word == "dropped" and not (self._folder / "dropped").exists():
            server.transport.abort()
            return ""
        self._number += 1
        (self._folder / f"{self._number}.eml").write_bytes(envelope.content)
        if word == "stuck" and not (self._folder / "stuck").exists():
            await asyncio.sleep(3600)
        return "250 taken"


def _authenticates(*arguments: Any) -> AuthResult:
    data = arguments[-1]
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (
        b"ducks",
        b"p@ss:word",
    )
    return AuthResult(success=good, handled=good)


def main() -> None:
    context = None
    if _MODE != "plain":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(_CERTIFICATE, _KEY)
    options: dict[str, Any] = {}
    if _MODE == "starttls":
        options = {"tls_context": context, "require_starttls": True}
    if _MODE == "tls":
        options = {"auth_require_tls": False}  # aiosmtpd means STARTTLS
    if _MODE != "plain":
        options |= {"authenticator": _authenticates, "auth_required": True}
    controller = Controller(
        Handler(Path(_FOLDER)),
        hostname="127.0.0.1",
        port=int(_PORT),
        ssl_context=context if _MODE == "tls" else None,
        **options,
    )
    controller.start()
    controller._thread.join()  # type: ignore[union-attr]


main()
