"""What of a new configuration can be taken over by a running appliance. Pure.

Only what edges alone go by: they are replaced one by one, and begin with the new one. Everything
else is in parts that live as long as the process.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final, NamedTuple

from watchducks.background import StartupError
from watchducks.health.targets import Target, find_targets
from watchducks.settings import Settings

_OF_EDGES: Final = frozenset(
    (
        "node.drain_seconds",
        "proxy.http",
        "proxy.https",
        "proxy.trusted_peers",
        "proxy.client_connections",
        "proxy.client_requests_per_second",
        "nameserver.listen",
        "nameserver.rrl_per_second",
        "nameserver.nsid",
    )
)


class Plan(NamedTuple):
    """:ivar changed: the keys whose values differ. :ivar restart: those that need a restart."""

    changed: tuple[str, ...]
    restart: tuple[str, ...]


def plan_reload(old: Settings, new: Settings) -> Plan:
    """Return what differs."""
    changed = tuple(changed_keys(old, new))
    of_edges = _OF_EDGES if old.has_edges else frozenset()
    restart = [key for key in changed if key not in of_edges]
    # The keeper probes the ports that DNS leads to.
    if "nameserver" in old.node.roles and _probed(old) != _probed(new):
        restart += [key for key in ("proxy.http", "proxy.https") if key in changed]
    return Plan(changed, tuple(dict.fromkeys(restart)))


def changed_keys(old: Any, new: Any, where: str = "") -> list[str]:
    """Return the names of the fields of two dataclasses of one kind that differ."""
    changed = []
    for field in dataclasses.fields(old):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if dataclasses.is_dataclass(before):
            changed += changed_keys(before, after, f"{where}{field.name}.")
        elif before != after:
            changed.append(f"{where}{field.name}")
    return changed


def _probed(settings: Settings) -> tuple[Target, ...]:
    try:
        return find_targets(
            settings.nameserver.health.targets,
            settings.proxy.addresses,
            settings.proxy.http,
            settings.proxy.https,
        )
    except StartupError:
        return ()  # it says so when it starts
