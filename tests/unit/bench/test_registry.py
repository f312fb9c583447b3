"""A registry that was filled at once is one that the real registry code understands."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine

from bench.registry import HOST, ZONE, fill, some_hosts
from watchducks.model.accounts import ANYBODY
from watchducks.model.cutover import CutoverRules
from watchducks.registry import finding


def test_filled_registry_reads_as_if_registered(tmp_path: Path) -> None:
    file = tmp_path / "registry.sqlite"
    fill(file, "http://127.0.0.1:8080", 1234)
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        changes = finding.changes_since(connection, 0, 2000)
        assert changes.revision == finding.head(connection).revision
        assert finding.count(connection, "bench", ANYBODY) == 1234
        wanted = [HOST, ZONE, *some_hosts(1234, 9)]
        found = [finding.by_host(connection, host, CutoverRules()) for host in wanted]
    engine.dispose()
    assert not changes.more
    assert len({site.id for site in changes.sites}) == 1234
    assert [site.revision for site in changes.sites] == list(range(1, 1235))
    for host, site in zip(wanted, found, strict=True):
        assert site is not None
        assert host in site.hosts
        assert str(site.origin) == "http://127.0.0.1:8080"
    assert len(set(wanted)) == 11
