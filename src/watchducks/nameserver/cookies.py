"""DNS cookies (RFC 7873) in the form that all servers share (RFC 9018).

A client that shows a cookie which we gave to its address really is at that address. We never insist
on one: it only lifts what :mod:`watchducks.nameserver.guard` imposes on those who show none.

A server cookie is 16 octets: version, three zero octets, the time it was made, and a SipHash-2-4 of
the client's cookie, these eight octets and the client's address. No two name servers have to agree
on the key, because a client keeps a cookie for each of their addresses; servers that share one
address do when they have the same file.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from siphash24 import siphash24
from twisted.logger import Logger

from watchducks.nameserver.guard import packed_address
from watchducks.nameserver.wire import Malformed
from watchducks.replacing import replace_file

CLIENT_OCTETS: Final = 8
SERVER_OCTETS: Final = 16
# Code and length, in front of an option's data.
OPTION_HEAD_OCTETS: Final = 4
# What others' server cookies may have (RFC 7873 section 4): they are not ours, but well-formed.
MIN_OTHER_OCTETS: Final = 8
MAX_OTHER_OCTETS: Final = 32
# RFC 9018 section 4.3: good for an hour, renewed after half of it, and a clock may be 5 min. ahead.
LIFE_SECONDS: Final = 3_600
RENEW_SECONDS: Final = 1_800
AHEAD_SECONDS: Final = 300
# A resolver shows us the same cookie each time, so what was said to it is said again for so long
# without working it out, which costs more than an answer. Nothing gets older than it may by more.
REPEAT_SECONDS: Final = 60
# Some 250 octets each, so 2.5 MB; when it is full it begins anew.
MAX_REPEATED: Final = 10_000
# Each key is used for the cookies made on one day (RFC 7873 section 7.1 asks for some 26 hours).
# Keys come from the secret and the day: they change without anything being stored or agreed on.
KEY_SECONDS: Final = 86_400
SECRET_OCTETS: Final = 32

_OPTION: Final = struct.pack("!HH", 10, CLIENT_OCTETS + SERVER_OCTETS)
_HEAD: Final = struct.Struct("!B3xL")
_VERSION: Final = 1


class Cookies:
    """Makes and checks server cookies."""

    def __init__(self, secret: bytes, *, now: Callable[[], float]) -> None:
        """:param secret: see :func:`kept_secret`. :param now: POSIX seconds."""
        self._secret = secret
        self._now = now
        # Those of the last two days that were needed; a client can name days as it likes.
        self._keys: dict[int, bytes] = {}
        self._said: dict[tuple[bytes, str], tuple[bytes, bool]] = {}
        self._forget_at = 0.0

    def respond(self, option: bytes, host: str) -> tuple[bytes, bool]:
        """Return the COOKIE option to respond with, and whether the client showed a valid cookie.

        :param option: the data of the question's COOKIE option.
        :param host: the client's address.
        :raises Malformed: it has an impossible length.
        """
        now = self._now()
        if not 0 <= self._forget_at - now <= REPEAT_SECONDS:  # over, or the clock was set back
            self._said.clear()
            self._forget_at = now + REPEAT_SECONDS
        said = self._said.get((option, host))
        if said is None:
            said = self._judged(option, host, int(now))
            if len(self._said) >= MAX_REPEATED:
                self._said.clear()
            self._said[option, host] = said
        return said

    def _judged(self, option: bytes, host: str, now: int) -> tuple[bytes, bool]:
        client, shown = option[:CLIENT_OCTETS], option[CLIENT_OCTETS:]
        if len(client) < CLIENT_OCTETS or (
            shown and not MIN_OTHER_OCTETS <= len(shown) <= MAX_OTHER_OCTETS
        ):
            raise Malformed("a cookie of an impossible length")
        address = packed_address(host)
        if len(shown) == SERVER_OCTETS and shown[0] == _VERSION:
            # Times are compared as RFC 1982 says, across the wrap in 2106.
            age = (now - _HEAD.unpack_from(shown)[1] + 0x80000000 & 0xFFFFFFFF) - 0x80000000
            if -AHEAD_SECONDS <= age <= LIFE_SECONDS:
                made = self._made(client, now - age, address)
                if hmac.compare_digest(made, shown):
                    if age <= RENEW_SECONDS:
                        return _OPTION + option, True
                    return _OPTION + client + self._made(client, now, address), True
        return _OPTION + client + self._made(client, now, address), False

    def _made(self, client: bytes, time: int, address: bytes) -> bytes:
        day = time // KEY_SECONDS
        key = self._keys.get(day)
        if key is None:
            # Only today's and its neighbours' are ever asked for.
            if len(self._keys) >= 3:
                self._keys.clear()
            key = hmac.digest(self._secret, b"day %d" % day, "sha256")[:16]
            self._keys[day] = key
        return server_cookie(client, time, address, key)


def server_cookie(client: bytes, time: int, address: bytes, key: bytes) -> bytes:
    """Return the server cookie of RFC 9018 section 4.

    :param time: POSIX seconds. :param address: 4 or 16 octets. :param key: 16 octets.
    """
    head = _HEAD.pack(_VERSION, time & 0xFFFFFFFF)
    digest: bytes = siphash24(client + head + address, key=key).digest()
    return head + digest


def kept_secret(file: Path, log: Logger) -> bytes:
    """Return the secret in ``file``, which is made if it is not there. Blocks for a moment.

    A file that cannot be read or written costs only that clients' cookies are not known any more
    after a restart: the name server does not depend on its disk.
    """
    try:
        kept = file.read_bytes()
        if len(kept) == SECRET_OCTETS:
            return kept
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warn("cannot read {path}: {error}", path=str(file), error=str(error))
    secret = secrets.token_bytes(SECRET_OCTETS)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(file, secret)
    except OSError as error:
        log.warn("cannot write {path}: {error}", path=str(file), error=str(error))
    return secret
