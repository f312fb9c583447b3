"""The certificates we hold: files under ``data_dir/certificates``, one folder each.

The folders are looked through every two seconds, so that a new, renewed or removed certificate
counts without a restart. The rules:

* a pair is read again when one of its files has changed;
* a pair that cannot be used is logged once, with what to do; what the same folder held before stays
  in use until it expires;
* of several certificates for a name the one that expires last is used, and an exact name wins over
  a wildcard.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from OpenSSL import SSL
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating, StartupError, Threads
from watchducks.certificates.pairs import (
    CHAIN_FILE,
    KEY_FILE,
    BadPair,
    Pair,
    make_default_context,
    open_to_others,
    read_pair,
    wildcard_of,
)

# Half of what an operator waits before wondering; a look at 1,000 folders takes 10 ms in a thread.
SCAN_SECONDS: Final = 2.0

# Contexts kept of the certificates used last, at 27 KB each. A site that comes back after so many
# others gets a new one, in 0.4 ms.
MAX_CONTEXTS: Final = 1000

# What tells a changed file without reading it: of each, modification time, inode and size.
Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class _Held:
    """What a folder held when it was last read.

    :ivar stamp: of the files that were read. :ivar pair: the last good one, or None.
    """

    stamp: Stamp
    pair: Pair | None


@dataclass(frozen=True, slots=True)
class _Scan:
    """What a look through the folders found."""

    held: Mapping[str, _Held]
    by_name: Mapping[str, Pair]
    warnings: Sequence[str]
    loaded: Sequence[str]
    removed: Sequence[str]


class CertificateStore:
    """The certificates in a directory (:class:`watchducks.background.Part`).

    Reading happens in ``pool``; the results change hands on the reactor's thread, all at once.
    """

    def __init__(
        self,
        directory: Path,
        *,
        pool: Threads,
        clock: IReactorTime,
        wall: Callable[[], float] = time.time,
        alpn: Sequence[bytes] = (b"http/1.1",),
        scan_seconds: float = SCAN_SECONDS,
        max_contexts: int = MAX_CONTEXTS,
        default: SSL.Context | None = None,
    ) -> None:
        """:param wall: POSIX seconds.
        :param alpn: the protocols that the proxy speaks, the most wanted first.
        :param max_contexts: how many TLS contexts are kept, of those used last.
        :param default: see :attr:`default_context`; None: one is made.
        """
        self._log = Logger()
        self._directory = directory
        self._pool = pool
        self._wall = wall
        self._alpn = tuple(alpn)
        self._max_contexts = max_contexts
        self._held: Mapping[str, _Held] = {}
        self._by_name: Mapping[str, Pair] = {}
        self._contexts: OrderedDict[Pair, SSL.Context] = OrderedDict()
        self._default = default
        self._scanning = Repeating(
            self.scan, scan_seconds, clock=clock, log=self._log, name="reading certificates"
        )

    async def start(self) -> None:
        """Read what is there, then watch for changes.

        :raises StartupError: the directory cannot be made.
        """
        try:
            self._default = await self._pool.run(self._prepare)
        except OSError as error:
            raise StartupError(
                f"certificates: {self._directory} cannot be made: {error.strerror}"
            ) from error
        await self.scan()
        self._scanning.start()

    def _prepare(self) -> SSL.Context:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._default or make_default_context(self._wall(), self._alpn)

    async def stop(self) -> None:
        """Watch no more; what is held stays usable."""
        await self._scanning.stop()

    def nudge(self) -> None:
        """Look through the folders now: something has changed there."""
        self._scanning.nudge()

    @property
    def default_context(self) -> SSL.Context:
        """A self-signed certificate for no host. Every connection begins with it, whatever it goes
        on with: session tickets are sealed with the keys of this one."""
        assert self._default is not None, "the store has not been started"
        return self._default

    def context_for(self, server_name: str) -> SSL.Context | None:
        """Return the context with a certificate for ``server_name`` (lower-case), or None."""
        pair = self._find(server_name)
        if pair is None:
            return None
        contexts = self._contexts
        context = contexts.get(pair)
        if context is None:
            context = contexts[pair] = pair.make_context(self._alpn)
            if len(contexts) > self._max_contexts:
                contexts.popitem(last=False)
        else:
            contexts.move_to_end(pair)
        return context

    def covers(self, server_name: str, host: str) -> bool:
        """Return whether the certificate for ``server_name`` is one for ``host``, too."""
        pair = self._find(server_name)
        return pair is not None and pair.covers(host)

    def _find(self, server_name: str) -> Pair | None:
        pair = self._by_name.get(server_name) or self._by_name.get(wildcard_of(server_name))
        # A certificate that has expired meanwhile is no better than none: the site's own may do.
        return pair if pair is not None and pair.not_after > self._wall() else None

    async def scan(self) -> None:
        """Look through the folders once, and take over what has changed."""
        result = await self._pool.run(self._look, self._held)
        self._held, self._by_name = result.held, result.by_name
        if result.loaded or result.removed:
            used = set(result.by_name.values())
            for pair in [pair for pair in self._contexts if pair not in used]:
                del self._contexts[pair]
        for warning in result.warnings:
            self._log.warn("{warning}", warning=warning)
        for folder in result.loaded:
            names = result.held[folder].pair
            self._log.info(
                "certificate {folder} is in use for {names}",
                folder=folder,
                names=sorted(names.names) if names is not None else [],
            )
        for folder in result.removed:
            self._log.info("certificate {folder} was removed", folder=folder)

    def _look(self, before: Mapping[str, _Held]) -> _Scan:
        """Runs in the pool's thread; touches nothing that the reactor's thread changes."""
        held: dict[str, _Held] = {}
        warnings: list[str] = []
        loaded: list[str] = []
        for folder in sorted(self._directory.iterdir()):
            stamp = tuple(_stamp(folder / name) for name in (CHAIN_FILE, KEY_FILE))
            if not any(stamp):
                continue  # not a folder of ours, or one that is just being made
            old = before.get(folder.name)
            if old is not None and old.stamp == stamp:
                held[folder.name] = old
                continue
            pair = None if old is None else old.pair
            try:
                pair = read_pair(folder, now=self._wall())
                loaded.append(folder.name)
                if open_to_others(folder / KEY_FILE):
                    warnings.append(f"everybody may read {folder / KEY_FILE}: chmod 600 it")
            except BadPair as bad:
                stays = "; the one before stays in use" if pair is not None else ""
                warnings.append(f"certificate {folder.name} is not used: {bad}{stays}")
            held[folder.name] = _Held(stamp, pair)
        by_name: dict[str, Pair] = {}
        for entry in held.values():
            for name in entry.pair.names if entry.pair is not None else ():
                rival = by_name.get(name)
                if entry.pair is not None and (
                    rival is None or rival.not_after < entry.pair.not_after
                ):
                    by_name[name] = entry.pair
        return _Scan(held, by_name, warnings, loaded, sorted(before.keys() - held.keys()))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
