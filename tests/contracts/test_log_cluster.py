"""Two ClickHouse servers as one log store, with one of them dying."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.clickhouse_cluster import REPLICAS, SHARDS, ClickHouseCluster
from watchducks.stores.clickhouse_check import cluster_problems


@pytest.fixture
def cluster(clickhouse_cluster: ClickHouseCluster) -> Iterator[ClickHouseCluster]:
    """Both as replicas of one shard, whatever a test has made of them."""
    yield clickhouse_cluster
    clickhouse_cluster.zookeeper.recover()
    for server in clickhouse_cluster.servers:
        server.recover()
    clickhouse_cluster.as_replicas()


# --- what the sysadmin is told ------------------------------------------------------------------


def test_check_says_what_is_wrong_with_a_cluster(cluster: ClickHouseCluster) -> None:
    url = cluster.fresh_url()
    assert cluster_problems(url, REPLICAS) == []
    unknown = cluster_problems(url, "geese")
    assert len(unknown) == 2
    assert 'logs.cluster = "geese": ClickHouse at 127.0.0.1:' in unknown[0]
    assert "no such cluster in its remote_servers" in unknown[0]
    cluster.configure([("1", "one"), None])
    (lacking,) = cluster_problems(url, REPLICAS)
    assert f"127.0.0.1:{cluster.servers[1].port} has no shard in its macros" in lacking
    cluster.as_shards()
    assert cluster_problems(url, SHARDS) == []
    one, _, other = url.partition(",")
    (incomplete,) = cluster_problems(f"{one}/{other.partition('/')[2]}", SHARDS)
    assert 'the cluster "ponds" has 2 shards, and servers of 1 are named' in incomplete
    (refused, _) = cluster_problems(url.replace("default:", "default:s3cret"), SHARDS)
    assert "logs.url: ClickHouse at" in refused
    assert "s3cret" not in refused
    cluster.servers[1].kill()
    assert cluster_problems(url, SHARDS) == []
    cluster.zookeeper.kill()
    (alone,) = cluster_problems(url, SHARDS)
    assert f"127.0.0.1:{cluster.servers[0].port} does not reach its ZooKeeper" in alone
