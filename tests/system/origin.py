"""The owner's own server, in threads of the test's process: nothing of ours."""

from __future__ import annotations

import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

# Not 127.0.0.1, where the proxy is: so that DNS shows which of them it leads to.
ADDRESS = "127.0.0.2"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        host = self.headers.get("Host", "")
        body = f"the origin of {host} {self.path}\n".encode()
        self.send_response(404 if self.path.startswith("/missing") else 200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name upstream
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that is gone, such as a proxy that was killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Origin:
    """:ivar port: where it listens, at :data:`ADDRESS`."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        """
        :param tls: what it speaks HTTPS with; None: it speaks HTTP.
        :param port: 0: one that is free.
        """
        self._server = _Server((ADDRESS, port), _Handler)
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            # Shakes hands when it first reads, in the connection's own thread.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://{ADDRESS}:{self.port}"

    def __enter__(self) -> Origin:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
