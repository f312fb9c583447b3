"""What makes a table: alone and in a cluster, on old servers and new ones."""

from __future__ import annotations

import pytest

from watchducks.analytics.plan import DEDUPLICATION_WINDOW, REPLICATED_WINDOW, Plan, Version
from watchducks.analytics.tables import MIGRATIONS, applied
from watchducks.stores.interfaces import Cluster

OLD, NEW = (18, 16), (26, 9)
CLUSTER = Cluster("ducks", "o'logs")
COLUMNS = "time DateTime('UTC'), site UInt32"
ORDERED = "PARTITION BY toYYYYMM(time) ORDER BY site"


def test_alone_a_table_is_one() -> None:
    made = "CREATE TABLE IF NOT EXISTS t (time DateTime('UTC'), site UInt32) ENGINE = MergeTree"
    assert Plan(OLD, 30).table("t", COLUMNS, ORDERED, days=7) == [f"{made} {ORDERED}"]
    assert Plan(NEW, 30).table("t", COLUMNS, ORDERED, days=7) == [
        f"{made} {ORDERED} TTL time + toIntervalDay(7) SETTINGS ttl_only_drop_parts = 1,"
        f" non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}"
    ]
    assert Plan(OLD, 30).table("t", COLUMNS, ORDERED, together=128) == [
        f"{made} {ORDERED} SETTINGS index_granularity = 128"
    ]


@pytest.mark.parametrize("version", [OLD, NEW])
def test_in_a_cluster_a_table_is_replicated_and_distributed(version: Version) -> None:
    rows, all_rows = Plan(version, 30, CLUSTER).table("t", COLUMNS, ORDERED, shard_by="site")
    assert rows == (
        "CREATE TABLE IF NOT EXISTS t_local (time DateTime('UTC'), site UInt32)"
        r" ENGINE = ReplicatedMergeTree('/clickhouse/tables/ducks/{shard}/o\'logs/t', '{replica}')"
        f" {ORDERED} SETTINGS replicated_deduplication_window = {REPLICATED_WINDOW}"
    )
    assert all_rows == (
        "CREATE TABLE IF NOT EXISTS t AS t_local"
        r" ENGINE = Distributed('ducks', 'o\'logs', t_local, site)"
    )


@pytest.mark.parametrize(
    ("version", "cluster", "expected"),
    [
        (OLD, None, ""),
        (NEW, None, ""),
        # There it is on unless it is switched off.
        (OLD, CLUSTER, " SETTINGS replicated_deduplication_window = 0"),
        (NEW, CLUSTER, " SETTINGS replicated_deduplication_window = 0"),
    ],
)
def test_blocks_with_the_same_rows_may_both_count(
    version: Version, cluster: Cluster | None, expected: str
) -> None:
    made = Plan(version, 30, cluster).table("t", COLUMNS, ORDERED, deduplicates=False)
    assert made[0].endswith(f"{ORDERED}{expected}")


@pytest.mark.parametrize(
    ("version", "cluster", "told_apart"),
    [(OLD, None, True), (OLD, CLUSTER, False), (NEW, CLUSTER, True)],
)
def test_counts_of_two_name_servers_that_were_asked_the_same_both_count(
    version: Version, cluster: Cluster | None, told_apart: bool
) -> None:
    plan = Plan(version, 30, cluster)
    assert plan.tells_blocks_apart is told_apart
    (dns,) = (m.statements(plan)[0] for m in MIGRATIONS if "dns_questions" in m.statements(plan)[0])
    assert dns.endswith("deduplication_window = 0") is not told_apart


@pytest.mark.parametrize("version", [OLD, NEW])
def test_every_table_has_its_replicas_in_a_cluster(version: Version) -> None:
    plan = Plan(version, 30, CLUSTER)
    made = [*applied(plan), *(text for step in MIGRATIONS for text in step.statements(plan))]
    assert len(made) == 2 * len([text for text in made if "ENGINE = Replicated" in text])
    assert len({text.split(" ENGINE ")[0].split()[5] for text in made}) == len(made)
    # A segment is one shard's, and a row of the roll-ups is where the others of its site are.
    keys = {text.split("EXISTS ")[1].split()[0]: text[-30:] for text in made if "Distri" in text}
    assert "segment AS String))" in keys["requests"]
    assert ", site)" in keys["traffic_day"]
    assert ", 0)" in keys["rollup_ledger"]
