"""Verdicts: what the judge of health says about a proxy, and the answerer reads; and what probes
found of the sites' origins, which decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from watchducks.model.origins import Address
from watchducks.model.scans import Note


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether DNS may lead visitors to the proxy at ``address``.

    :ivar since: when it last changed, POSIX seconds.
    :ivar reason: the last probe's result in a few words, for people.
    """

    address: Address
    healthy: bool
    since: float
    reason: str


class Verdicts(Protocol):
    """Read access to the present verdicts. Cheap: called while a question is answered."""

    @property
    def revision(self) -> int:
        """Grows with each change of what is said here, so that a cache of answers knows when to
        forget."""

    @property
    def serial(self) -> int:
        """The part of every SOA's serial that grows with each change of a verdict, and over
        restarts."""

    @property
    def ttl_limit(self) -> int | None:
        """The longest that an answer with addresses of proxied names may be kept, in seconds,
        while a verdict may be about to change; None: no limit but the usual TTL."""

    def healthy_addresses(self) -> Sequence[Address]:
        """The proxies to answer with, in configured order; empty: answer with the origin."""


@dataclass(frozen=True, slots=True)
class FailoverReport:
    """Whether visitors whom DNS leads to a site's origin would be content with its certificate.

    :ivar trouble: why not; None: they would. :ivar checked: POSIX seconds.
    """

    trouble: Note | None
    checked: float


@dataclass(frozen=True, slots=True)
class OriginReport:
    """What came of the last probe of one site's origin.

    :ivar failure: why that was no answer; None: it answered with anything but a server error.
    :ivar since: when it last began to answer, or ceased to; POSIX seconds.
    :ivar asked: when it was last asked, POSIX seconds.
    :ivar failover: of its certificate; None: it was not looked at yet.
    """

    failure: Note | None
    since: float
    asked: float
    failover: FailoverReport | None = None

    @property
    def answers(self) -> bool:
        return self.failure is None
