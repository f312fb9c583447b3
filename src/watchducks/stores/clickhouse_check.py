"""What is wrong with a cluster for ``logs.cluster``, asked of each server before the start.

Used by ``watchducks check``. It changes nothing, and it blocks: never call it on a reactor.
"""

from __future__ import annotations

from typing import Final

from clickhouse_driver import Client
from clickhouse_driver.errors import Error, NetworkError, SocketTimeoutError

from watchducks.background import StartupError
from watchducks.model.log_servers import LogServers, parse_log_servers
from watchducks.stores.binding import bind
from watchducks.stores.clickhouse_cluster import CLUSTER_KNOWN, MACROS, standing
from watchducks.stores.clickhouse_errors import one_line

# A server on the same network answers in milliseconds; ZooKeeper may have to choose a leader.
_CONNECT_SECONDS: Final = 3.0
_ANSWER_SECONDS: Final = 15.0
_ZOOKEEPER: Final = "SELECT count() FROM system.zookeeper WHERE path = '/'"


def cluster_problems(url: str, cluster: str) -> list[str]:
    """Return one line for each thing that would keep the cluster from working; empty: none.

    Servers that are not there are none of them: see preflight.

    :param url: ``logs.url``. :param cluster: ``logs.cluster``, not empty.
    """
    servers = parse_log_servers(url)
    found: list[str] = []
    shards: set[str] = set()
    wanted = 0
    complete = True
    for host, port in servers.hosts:
        name = f"ClickHouse at {host}:{port}"
        client = _client(servers, host, port)
        try:
            known = client.execute(bind(CLUSTER_KNOWN, {"cluster": cluster}))[0]
            what = standing(name, cluster, known, client.execute(MACROS))
            shards.add(what.shard)
            wanted = max(wanted, what.shards)
            _ask_zookeeper(client, name, found)
        except StartupError as error:
            found.append(str(error))
        except (NetworkError, SocketTimeoutError, OSError, EOFError):
            complete = False
        except Error as error:
            found.append(f"logs.url: {name}: {one_line(str(error))}")
        finally:
            client.disconnect()
    if complete and not found and len(shards) < wanted:
        found.append(
            f'logs.url: the cluster "{cluster}" has {wanted} shards, and servers of {len(shards)}'
            " are named"
        )
    return found


def _client(servers: LogServers, host: str, port: int) -> Client:
    return Client(
        host,
        port=port,
        user=servers.user,
        password=servers.password,
        # Ours may not be there yet.
        database="system",
        client_name="watchducks check",
        connect_timeout=_CONNECT_SECONDS,
        send_receive_timeout=_ANSWER_SECONDS,
    )


def _ask_zookeeper(client: Client, name: str, found: list[str]) -> None:
    try:
        client.execute(_ZOOKEEPER)
    except Error as error:
        found.append(
            f"logs.cluster: {name} does not reach its ZooKeeper, without which it takes no rows:"
            f" {one_line(str(error))}"
        )
