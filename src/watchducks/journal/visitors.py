"""Visitor ids that cannot be joined over days: a keyed hash whose key lives for one UTC day.

The id is a hash of site, address and user agent. As long as the day's key exists somebody who has
it could find out the id of a known address; once it is destroyed nobody can, and the same visitor
has another id the next day. A key is destroyed as soon as no row of its day can come any more.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path

from twisted.logger import Logger

from watchducks.replacing import replace_file

DAY_SECONDS = 86_400
DAY_US = DAY_SECONDS * 1_000_000

KEY_BYTES = 32
# Eight bytes, for a UInt64: at a million visitors a day the chance that two of them share an id
# is 3 in 100 million.
_ID_BYTES = 8

# "not known who": a passed-through connection, or a row that came after its day's key was gone.
NO_VISITOR = 0


def day_of(time_us: int) -> int:
    """Return the UTC day of a time in POSIX microseconds, as days since 1970."""
    return time_us // DAY_US


def visitor_id(key: bytes, site_id: int, client: str, user_agent: str) -> int:
    """Return the id of a visitor on the day of ``key``: 1 to 2**64 - 1."""
    # The parts are told apart by their places: no address holds a line break.
    text = f"{site_id}\n{client}\n{user_agent}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(blake2b(text, digest_size=_ID_BYTES, key=key).digest(), "big")
    return number or 1


class VisitorKeys:
    """The keys, one a UTC day, in one file for its owner only.

    Blocks; to be used by one thread at a time.

    The file also says through which day keys were destroyed: a late row of such a day must get no
    new key, or its visitor would count twice. And it says for which days the key is settled with
    the other hosts; a key that was used before stays, for the same reason.
    """

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[int, bytes] = {}
        self._agreed: set[int] = set()
        self._destroyed_through = -1
        self._saved = True

    def load(self) -> bool:
        """Read the file; return False for one that is damaged, which then counts as not there.

        :raises OSError: it cannot be read.
        """
        try:
            state = json.loads(self._path.read_bytes())
            keys = {int(day): bytes.fromhex(key) for day, key in state["keys"].items()}
            destroyed_through = int(state["destroyed_through"])
            agreed = {int(day) for day in state.get("agreed", ())}
        except FileNotFoundError:
            return True
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        self._keys = {day: key for day, key in keys.items() if len(key) == KEY_BYTES}
        self._destroyed_through = destroyed_through
        self._agreed = agreed & self._keys.keys()
        return True

    def keys_of(self, days: Iterable[int]) -> Mapping[int, bytes]:
        """Return the keys of the days, made where they are missing; destroyed ones are left out.

        A key that cannot be written to a full disk is used all the same, and written later:
        shipping is what frees that disk.
        """
        for day in days:
            if day not in self._keys and day > self._destroyed_through:
                self._keys[day] = secrets.token_bytes(KEY_BYTES)
                self._saved = False
        self._save()
        return self._keys

    def proposals(self, days: Iterable[int]) -> dict[int, bytes]:
        """Return for each day that is not settled with the other hosts the key to propose."""
        return {
            day: self._keys.get(day) or secrets.token_bytes(KEY_BYTES)
            for day in days
            if day not in self._agreed and day > self._destroyed_through
        }

    def settle(self, day: int, key: bytes) -> bool:
        """Take over the key that all hosts agreed on; False: this host has used another one, and
        goes on with it until the day is over."""
        known = self._keys.setdefault(day, key)
        self._agreed.add(day)
        self._saved = False
        self._save()
        return known == key

    def destroy_before(self, day: int) -> bool:
        """Destroy the keys of all days before ``day``; return whether that is news."""
        is_news = day - 1 > self._destroyed_through
        if is_news:
            self._keys = {d: key for d, key in self._keys.items() if d >= day}
            self._agreed &= self._keys.keys()
            self._destroyed_through = day - 1
            self._saved = False
        self._save()
        return is_news

    def _save(self) -> None:
        """Bring the file up to date; when that is not possible it is tried at the next call."""
        if self._saved:
            return
        content = json.dumps(
            {
                "agreed": sorted(self._agreed),
                "destroyed_through": self._destroyed_through,
                "keys": {str(day): key.hex() for day, key in self._keys.items()},
            }
        ).encode()
        try:
            replace_file(self._path, content)
        except OSError as error:
            self._log.error("cannot write {path}: {error}", path=str(self._path), error=str(error))
            return
        self._saved = True
