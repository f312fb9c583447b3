"""Certificates that the sysadmin gives as files: when they end, for owners, admins and /metrics.

They are renewed by somebody else, so all that is done here is to tell: the site's page and the API
show when they end, and letters go out as for our own (:mod:`.expiry`), to owners and to admins.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating, Threads
from watchducks.certificates.acme.renewal import due_at
from watchducks.certificates.expiry import ProgressReader, notice, told
from watchducks.certificates.files import PREFIX
from watchducks.certificates.pairs import CHAIN_FILE, MAX_FILE_BYTES, names_of
from watchducks.certificates.plan import Held
from watchducks.model.certificates import CertificateProgress, Trouble, after_look
from watchducks.model.letters import Letter, LetterKind, Post, site_letter
from watchducks.model.metrics import Sample, gauge
from watchducks.model.sites import Site
from watchducks.stores.interfaces import StoreUnavailable

# Files change some times a year; who has put in another one sees its end within a minute.
LOOK_SECONDS: Final = 60.0
# Sites are looked for by name in the registry, once for each version of a file. Who gives more
# files than this has tools of his own to watch them.
MAX_FILES: Final = 1000
# Shown by name: those that end first. An alarm wants no others.
MAX_SHOWN: Final = 20
# Names of one certificate that are looked for: more than any authority puts into one.
MAX_NAMES: Final = 100


@dataclass(frozen=True, slots=True)
class Given:
    """A certificate in a folder of this host. :ivar folder: its name."""

    folder: str
    held: Held


class SiteStore(ProgressReader, Protocol):
    """Where sites are: :class:`watchducks.registry.registry.Registry`. May raise
    StoreUnavailable."""

    async def site_for_host(self, host: str) -> Site | None:
        """Return the site that serves this host."""

    async def keep_certificate_progress(
        self, rules: Mapping[int, Callable[[CertificateProgress], CertificateProgress]]
    ) -> None:
        """Change how far the certificates of sites (by id) are."""


class GivenCertificates:
    """A Part.

    :param directory: what the certificate store watches.
    :param admins: addresses of those who run the service.
    :param pool: for reading; it belongs to the caller.
    :param now: gives POSIX seconds.
    """

    def __init__(
        self,
        directory: Path,
        sites: SiteStore,
        post: Post,
        admins: Sequence[str],
        *,
        pool: Threads,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._sites = sites
        self._post = post
        self._admins = admins
        self._pool = pool
        self._now = now
        self._given: list[Given] = []
        # What was told of a folder: its certificate's end, and for how many days before it.
        self._told: dict[str, tuple[float, int | None]] = {}
        self._looks = Repeating(
            self._look, LOOK_SECONDS, clock=clock, log=Logger(), name="looking at given files"
        )

    async def start(self) -> None:
        """Begin."""
        self._looks.start()

    async def stop(self) -> None:
        """End."""
        await self._looks.stop()

    def samples(self) -> Iterator[Sample]:
        """Return what is measured now."""
        ends = [(one.held.not_after, one.folder) for one in self._given]
        for not_after, folder in heapq.nsmallest(MAX_SHOWN, ends):
            yield gauge(
                "watchducks_certificate_file_expiry_timestamp_seconds",
                "When a certificate ends that was given as files; the first of them to end.",
                not_after,
                folder=folder,
            )

    async def _look(self) -> None:
        self._given = await self._pool.run(look, self._directory)
        now = self._now()
        for folder in self._told.keys() - {one.folder for one in self._given}:
            del self._told[folder]
        try:
            for one in self._given:
                days = notice(one.held, now)
                if self._told.get(one.folder) != (one.held.not_after, days):
                    await self._tell(one, days, int(now))
                    self._told[one.folder] = (one.held.not_after, days)
        except StoreUnavailable:  # the feed of the registry says so already
            return

    async def _tell(self, one: Given, days: int | None, now: int) -> None:
        """Tell whom it concerns.

        :param days: how long before the end letters are due; None: none are.
        """
        expires = int(one.held.not_after)
        facts = told(CertificateProgress(trouble=Trouble.FILE), expires)
        in_use = False
        for site in await self._sites_of(one.held.names):
            rule = partial(after_look, now=now, expires=expires)
            await self._sites.keep_certificate_progress({site.id: rule})
            found = await self._sites.cutover(site.id)
            if found is None or found.progress.certificate.expires != expires:
                continue  # it has a better one
            in_use = True
            if days is not None:
                topic = f"{expires}:{days}"
                await self._post.post(site_letter(LetterKind.CERTIFICATE, site, facts, topic=topic))
        if days is not None and in_use:
            name = min(one.held.names)
            facts |= {"site": "", "domain": name, "zone": name}
            for admin in self._admins:
                whose = hashlib.sha256(f"{admin} {one.folder}".encode()).hexdigest()[:16]
                topic = f"{LetterKind.CERTIFICATE}:file:{whose}:{expires}:{days}"
                letter = Letter(LetterKind.CERTIFICATE, admin, facts=facts, topic=topic)
                await self._post.post(letter)

    async def _sites_of(self, names: frozenset[str]) -> list[Site]:
        """Return the sites with any of these names; a wildcard is for the site above it."""
        found: dict[int, Site] = {}
        for name in sorted(names)[:MAX_NAMES]:
            site = await self._sites.site_for_host(name.removeprefix("*."))
            if site is not None:
                found[site.id] = site
        return list(found.values())


def look(directory: Path) -> list[Given]:
    """Return what is given and can be read; what cannot is the store's to tell. Blocks."""
    found: list[Given] = []
    if not directory.is_dir():
        return found
    for folder in sorted(directory.iterdir()):
        if folder.name.startswith(PREFIX):
            continue
        try:
            with (folder / CHAIN_FILE).open("rb") as file:
                leaf = x509.load_pem_x509_certificates(file.read(MAX_FILE_BYTES))[0]
        except (OSError, ValueError):
            continue
        begin, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
        names = names_of(leaf)
        if names:
            found.append(Given(folder.name, Held(names, end, due_at(begin, end, None, 0.0))))
        if len(found) == MAX_FILES:
            break
    return found
