"""Challenges: what a certificate authority asks for to see that a name is ours.

Name servers answer them as TXT (RFC 8555 section 8.4), proxies as a page (section 8.3).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

DNS_LABEL: Final = "_acme-challenge"
# One order has at most 100 names, a dozen orders are under way at once, and some challenges were
# not taken down. Whoever answers reads them all once a second.
MAX_CHALLENGES: Final = 1500


@dataclass(frozen=True, slots=True)
class Challenge:
    """One answer that has to be given.

    :ivar kind: ``dns-01`` or ``http-01``. :ivar name: the host, without ``*.``, lower-case.
    :ivar token: of the authority, base64url. :ivar value: the text of the TXT record or the page.
    """

    kind: str
    name: str
    token: str
    value: str

    @classmethod
    def answering(cls, kind: str, name: str, token: str, key_authorization: str) -> Challenge:
        """Return the answer to a challenge."""
        value = key_authorization
        if kind == "dns-01":
            digest = hashlib.sha256(key_authorization.encode()).digest()
            value = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return cls(kind, name.lower().removeprefix("*."), token, value)


class Answers:
    """The answers of this process, by what is asked. Lives on the reactor's thread."""

    def __init__(self) -> None:
        self._texts: Mapping[str, tuple[str, ...]] = {}
        self._pages: Mapping[tuple[str, str], str] = {}
        self._on_change: list[Callable[[Mapping[str, tuple[str, ...]]], None]] = []
        self._all: frozenset[Challenge] = frozenset()

    def on_change(self, listener: Callable[[Mapping[str, tuple[str, ...]]], None]) -> None:
        """Call ``listener`` with the TXT values by name after each change."""
        self._on_change.append(listener)

    def replace(self, challenges: Iterable[Challenge]) -> None:
        """Answer these and no others; beyond :data:`MAX_CHALLENGES` the rest is left out."""
        kept = frozenset(sorted(challenges, key=lambda one: (one.name, one.token))[:MAX_CHALLENGES])
        if kept == self._all:
            return
        texts: dict[str, tuple[str, ...]] = {}
        pages: dict[tuple[str, str], str] = {}
        for one in sorted(kept, key=lambda one: one.value):
            if one.kind == "dns-01":
                texts[one.name] = (*texts.get(one.name, ()), one.value)
            else:
                pages[one.name, one.token] = one.value
        self._all, self._texts, self._pages = kept, texts, pages
        for listener in self._on_change:
            listener(texts)

    @property
    def all(self) -> frozenset[Challenge]:
        """Every challenge that is answered."""
        return self._all

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the TXT values of ``_acme-challenge`` below ``name``; apex and wildcard share."""
        return self._texts.get(name, ())

    def page(self, host: str, token: str) -> str | None:
        """Return the page of a token at ``host``; None: it is not one of ours."""
        return self._pages.get((host, token))
