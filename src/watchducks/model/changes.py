"""Changes: what the registry's feed tells those who follow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from watchducks.model.sites import Site


@dataclass(frozen=True, slots=True)
class Head:
    """Where a registry stands.

    :ivar lineage: names the registry among others; a new database has a new one.
    :ivar revision: how many writes there have been.
    """

    lineage: str
    revision: int


@dataclass(frozen=True, slots=True)
class Changes:
    """A run of changes of the registry, in the order of their revisions.

    Whoever applies them replaces what it knew of a zone: first forget :attr:`removed`, then take
    :attr:`sites`. A zone is never in both. Applying the same changes twice does no harm.

    :ivar revision: the registry's revision up to which these changes reach.
    :ivar sites: added or changed sites, as they are now.
    :ivar removed: zones that no site has any more.
    :ivar more: whether there are later changes that did not fit into this run.
    """

    revision: int
    sites: Sequence[Site]
    removed: Sequence[str]
    more: bool


# What a follower offers. It is called on the reactor's thread and must not raise.
Apply = Callable[[Changes], None]
