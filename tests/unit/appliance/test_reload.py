"""What of a new configuration needs a restart."""

from __future__ import annotations

from typing import Any

import pytest

from watchducks.appliance.reload import Plan, plan_reload
from watchducks.settings import Settings, parse


def settings(workers: int = 2, **changes: dict[str, Any]) -> Settings:
    document: dict[str, dict[str, Any]] = {
        "node": {"name": "a", "workers": workers, "data_dir": "/nowhere"},
        "proxy": {"http": ["tcp:80"], "https": [], "addresses": ["192.0.2.1"]},
        "nameserver": {"names": ["ns1.watchducks.example"]},
    }
    for section, values in changes.items():
        document.setdefault(section, {}).update(values)
    return parse(document)


@pytest.mark.parametrize(
    ("changes", "plan"),
    [
        ({}, Plan((), ())),
        ({"proxy": {"client_connections": 5}}, Plan(("proxy.client_connections",), ())),
        (
            {"node": {"drain_seconds": 5}, "logs": {"flush_rows": 5}},
            Plan(("node.drain_seconds", "logs.flush_rows"), ("logs.flush_rows",)),
        ),
        ({"nameserver": {"health": {"timeout": 1}}}, Plan(*[("nameserver.health.timeout",)] * 2)),
        ({"node": {"workers": 3}}, Plan(*[("node.workers",)] * 2)),
        # The keeper probes port 80.
        ({"proxy": {"http": ["tcp:81"]}}, Plan(*[("proxy.http",)] * 2)),
        ({"proxy": {"http": ["tcp:80", "tcp:81"]}}, Plan(("proxy.http",), ())),
    ],
)
def test_only_what_edges_go_by_can_change(changes: dict[str, Any], plan: Plan) -> None:
    assert plan_reload(settings(), settings(**changes)) == plan


def test_without_edges_everything_needs_a_restart() -> None:
    plan = plan_reload(settings(0), settings(0, proxy={"client_connections": 5}))
    assert plan == Plan(*[("proxy.client_connections",)] * 2)
