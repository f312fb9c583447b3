"""One TLS connection's OpenSSL state between two memory buffers. No reactor.

Two ways to the same thing: :class:`TlsEngine` through pyOpenSSL's public API, and
:class:`DirectEngine`, which makes the calls of the data path on the OpenSSL functions below
it, with one buffer for all connections instead of one allocation a call: a record sent costs 1.2
instead of 3.2 us. It rests on attributes that pyOpenSSL does not promise, and is used only while
all of them are there; the tests run over both.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from OpenSSL import SSL

# A record's plaintext is at most 2**14 bytes (RFC 8446 section 5.1): one read takes all of one.
RECORD_BYTES: Final = 1 << 14
# A record with its header and tag, with room to spare.
_SEALED_BYTES: Final = RECORD_BYTES + 1024
# Eight records: what one write of TCP takes before it asks for a pause, twice. One for the process.
_BUFFER_BYTES: Final = 8 * _SEALED_BYTES


class PeerClosed(Exception):
    """The other side said that it sends no more (close_notify)."""


class TlsEngine:
    """Turns what the network brought into plaintext, and plaintext into what it is to carry.

    After any method has raised :class:`OpenSSL.SSL.Error` only :meth:`take` is of use: there may be
    an alert for the other side.
    """

    __slots__ = ("connection",)

    def __init__(self, connection: SSL.Connection) -> None:
        """:param connection: over memory BIOs, and told which side it is."""
        self.connection = connection

    def handshake(self) -> bool:
        """Go on with the handshake; return whether it is complete.

        :raises OpenSSL.SSL.Error: it failed.
        """
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def feed(self, data: bytes) -> None:
        """Take what the network brought (not empty)."""
        self.connection.bio_write(data)

    def read(self) -> bytes:
        """Return the plaintext of one record; b"" if no complete one with data is left.

        :raises PeerClosed: none follows.
        :raises OpenSSL.SSL.Error: what was fed is not what the other side sent, or not TLS.
        """
        try:
            return self.connection.recv(RECORD_BYTES)
        except SSL.WantReadError:
            return b""
        except SSL.ZeroReturnError:
            raise PeerClosed from None

    def encrypt(self, data: bytes) -> bytes:
        """Return ``data`` (not empty) in records, behind whatever was to be sent before it.

        Record by record: OpenSSL's buffers never shrink, and there are two a connection.

        :raises OpenSSL.SSL.Error: the connection is of no use any more.
        """
        sealed = []
        for at in range(0, len(data), RECORD_BYTES):
            self.connection.send(data[at : at + RECORD_BYTES])
            sealed.append(self.take())
        return b"".join(sealed)

    def take(self) -> bytes:
        """Return what is to go to the network; b"" if there is nothing."""
        parts = []
        with suppress(SSL.WantReadError):
            while True:
                parts.append(self.connection.bio_read(_BUFFER_BYTES))
        return b"".join(parts)

    def shut_down(self) -> None:
        """Say that we send no more (close_notify). Reading is still possible."""
        with suppress(SSL.Error):  # there is nobody left to tell
            self.connection.shutdown()


_lib: Any = getattr(SSL, "_lib", None)
_ffi: Any = getattr(SSL, "_ffi", None)
_NEEDED: Final = (
    *("SSL_do_handshake", "SSL_read", "SSL_write"),
    *("SSL_get_error", "SSL_ERROR_WANT_READ", "SSL_ERROR_ZERO_RETURN"),
    *("BIO_read", "BIO_write", "ERR_clear_error"),
)


def direct_is_possible() -> bool:
    """Return whether this pyOpenSSL has what :class:`DirectEngine` needs."""
    if _ffi is None or not all(hasattr(_lib, name) for name in _NEEDED):
        return False
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    return all(hasattr(connection, name) for name in ("_ssl", "_into_ssl", "_from_ssl"))


def _failed() -> SSL.Error:
    """Return the error of a write; what it left in OpenSSL's queue would be taken for the next
    connection's."""
    _lib.ERR_clear_error()
    return SSL.Error("the connection cannot be written to")


class DirectEngine(TlsEngine):
    """The same, on the OpenSSL functions that pyOpenSSL calls. Only on the reactor's thread."""

    __slots__ = ("_from", "_into", "_ssl")

    def __init__(self, connection: SSL.Connection) -> None:
        super().__init__(connection)
        handles: Any = connection
        # Owned by the SSL.Connection, which lives as long as we do.
        self._ssl = handles._ssl  # noqa: SLF001
        self._into = handles._into_ssl  # noqa: SLF001
        self._from = handles._from_ssl  # noqa: SLF001

    def handshake(self) -> bool:
        ssl = self._ssl
        result = _ssl_do_handshake(ssl)
        if result == 1:
            return True
        if _ssl_get_error(ssl, result) == _WANT_READ:
            return False
        return super().handshake()  # fails once more, in pyOpenSSL's words

    def feed(self, data: bytes) -> None:
        if _bio_write(self._into, data, len(data)) != len(data):
            raise MemoryError

    def read(self) -> bytes:
        ssl = self._ssl
        count = _ssl_read(ssl, _buffer, RECORD_BYTES)
        if count > 0:
            data: bytes = _view[:count]
            return data
        error = _ssl_get_error(ssl, count)
        if error == _WANT_READ:
            return b""
        if error == _ZERO_RETURN:
            raise PeerClosed
        return super().read()  # fails or ends once more, in pyOpenSSL's words

    def encrypt(self, data: bytes) -> bytes:
        size = len(data)
        if size <= RECORD_BYTES:
            if _ssl_write(self._ssl, data, size) != size:
                raise _failed()
            return self.take()
        sealed: list[bytes] = []
        begin = _ffi.from_buffer(data)
        used = 0
        for at in range(0, size, RECORD_BYTES):
            count = min(RECORD_BYTES, size - at)
            if _ssl_write(self._ssl, begin + at, count) != count:
                raise _failed()
            # What was left from before may come on top: then there is more, for the next round.
            taken = _bio_read(self._from, _buffer + used, _BUFFER_BYTES - used)
            used += max(0, taken)
            if _BUFFER_BYTES - used < _SEALED_BYTES:
                sealed.append(_view[:used])
                used = 0
        sealed.append(_view[:used])
        sealed.append(self.take())
        return b"".join(sealed)

    def take(self) -> bytes:
        count = _bio_read(self._from, _buffer, _BUFFER_BYTES)
        if count <= 0:
            return b""
        taken: bytes = _view[:count]
        return taken if count < _BUFFER_BYTES else taken + super().take()


if direct_is_possible():
    _ssl_read, _ssl_write = _lib.SSL_read, _lib.SSL_write
    _bio_read, _bio_write = _lib.BIO_read, _lib.BIO_write
    _ssl_do_handshake, _ssl_get_error = _lib.SSL_do_handshake, _lib.SSL_get_error
    _WANT_READ, _ZERO_RETURN = _lib.SSL_ERROR_WANT_READ, _lib.SSL_ERROR_ZERO_RETURN
    _buffer = _ffi.new("char[]", _BUFFER_BYTES)
    _view: Any = _ffi.buffer(_buffer)
    best_engine: type[TlsEngine] = DirectEngine
else:  # a pyOpenSSL that looks different inside
    best_engine = TlsEngine
