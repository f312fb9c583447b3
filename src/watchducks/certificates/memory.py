"""What the keeper remembers over a restart: orders under way, refusals, and names that failed.

One sealed row of the registry for each bundle and each zone that has any of them, so that a change
writes little, however many there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from watchducks.certificates.plan import Failure

_BUNDLE: Final = "bundle:"
_ZONE: Final = "zone:"


@dataclass(frozen=True, slots=True)
class Order:
    """An order that is placed.

    :ivar authority: where. :ivar key: the certificate's, PEM; a secret.
    """

    authority: str
    url: str
    names: tuple[str, ...]
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wait:
    """An authority wants nothing to hear of a bundle. :ivar since: of this run of refusals;
    :ivar until: not before, POSIX seconds. :ivar times: how often in a row."""

    since: float
    until: float
    times: int


@dataclass(frozen=True, slots=True)
class BundleMemory:
    """:ivar waits: by authority."""

    order: Order | None = None
    waits: Mapping[str, Wait] = field(default_factory=dict)


_NOTHING: Final = BundleMemory()


class Secrets(Protocol):
    """Where it is kept: :class:`watchducks.registry.vault.Vault`. May raise StoreUnavailable."""

    async def secrets(self, prefix: str) -> dict[str, bytes]:
        """Return everything whose name begins with ``prefix``."""

    async def keep_secret(self, name: str, secret: bytes | None) -> None:
        """Keep ``secret``; None: forget it."""


class Memory:
    """:ivar failures: by zone, then by name."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._bundles: dict[str, BundleMemory] = {}
        self.failures: dict[str, Mapping[str, Failure]] = {}

    async def recall(self) -> None:
        """Read what was kept; what cannot be read is as good as forgotten."""
        bundles = await self._secrets.secrets(_BUNDLE)
        zones = await self._secrets.secrets(_ZONE)
        self._bundles = {
            name.removeprefix(_BUNDLE): _unpack_bundle(packed) for name, packed in bundles.items()
        }
        self.failures = {
            name.removeprefix(_ZONE): _unpack_failures(packed) for name, packed in zones.items()
        }

    def bundle(self, name: str) -> BundleMemory:
        """Return what is remembered of a bundle."""
        return self._bundles.get(name, _NOTHING)

    def bundles(self) -> list[str]:
        """Return the bundles of which anything is remembered."""
        return list(self._bundles)

    async def keep_bundle(self, name: str, memory: BundleMemory) -> None:
        """Remember this of a bundle."""
        if memory == self.bundle(name):
            return
        if memory == _NOTHING:
            self._bundles.pop(name, None)
            await self._secrets.keep_secret(_BUNDLE + name, None)
        else:
            self._bundles[name] = memory
            await self._secrets.keep_secret(_BUNDLE + name, _pack(asdict(memory)))

    async def keep_failures(self, zone: str, failures: Mapping[str, Failure]) -> None:
        """Remember which names of a zone failed."""
        if dict(failures) == self.failures.get(zone, {}):
            return
        if not failures:
            self.failures.pop(zone, None)
            await self._secrets.keep_secret(_ZONE + zone, None)
        else:
            self.failures[zone] = failures
            packed = {name: asdict(one) for name, one in failures.items()}
            await self._secrets.keep_secret(_ZONE + zone, _pack(packed))


def _pack(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _unpack_bundle(packed: bytes) -> BundleMemory:
    try:
        document = json.loads(packed)
        order = document["order"]
        if order is not None:
            order = Order(**{**order, "names": tuple(order["names"])})
        return BundleMemory(order, {name: Wait(**one) for name, one in document["waits"].items()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return _NOTHING


def _unpack_failures(packed: bytes) -> dict[str, Failure]:
    try:
        return {
            name: Failure(**{**one, "counted": tuple(one["counted"])})
            for name, one in json.loads(packed).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
