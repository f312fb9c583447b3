"""The opening handshake of WebSocket, where it differs between HTTP/1.1 and HTTP/2. Pure rules.

HTTP/1.1 asks with Upgrade and a key, and gets 101 (RFC 6455 section 4); HTTP/2 asks with an
extended CONNECT, without a key, and gets 200 (RFC 8441). Origins are always asked by HTTP/1.1.
After the handshake a WebSocket is bytes to us, like any tunnel.
"""

from __future__ import annotations

import base64
import secrets
from typing import Final

from watchducks.proxy.heads import Fields

_OF_HTTP_1: Final = frozenset({b"sec-websocket-key", b"sec-websocket-version"})


def with_key(fields: Fields) -> Fields:
    """Return ``fields`` with what HTTP/1.1 asks with besides."""
    version = [field for field in fields if field[0].lower() == b"sec-websocket-version"]
    passed = [field for field in fields if field[0].lower() not in _OF_HTTP_1]
    key = base64.b64encode(secrets.token_bytes(16))
    return [
        *passed,
        *(version or [(b"Sec-WebSocket-Version", b"13")]),
        (b"Sec-WebSocket-Key", key),
    ]
