"""A proxy in a process of its own, for tests and benchmarks that measure it:
``proxy_process.py ORIGIN_PORT ADDRESSES``.

Serves :data:`HOST` from the origin at 127.0.0.1, and ``N.example`` from that at 127.0.0.N, for each
N from 1 to ADDRESSES. Prints the ports of its http and https listeners once it listens, and serves
until it is ended.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT), str(_ROOT / "src")]

from watchducks.reactor import install  # noqa: E402 - found by the path above

install()

from twisted.internet.defer import Deferred  # noqa: E402 - after the reactor

from tests.unit.certificates.authority import Authority  # noqa: E402
from tests.wire.proxying import HOST, FakeCertificates, FakeRoutes, route_to  # noqa: E402
from watchducks.model.rows import Row  # noqa: E402
from watchducks.proxy.service import Proxy  # noqa: E402
from watchducks.settings import parse  # noqa: E402


class NoRows:
    """A RowSink that keeps none: they are not what is measured."""

    def record(self, row: Row) -> None:
        """Forget it."""


def main() -> None:
    """Serve."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    port = int(sys.argv[1])
    routes, certificates = FakeRoutes(), FakeCertificates()
    routes.routes[HOST] = route_to(port)
    for number in range(1, 1 + int(sys.argv[2])):
        host = f"{number}.example"
        routes.routes[host] = route_to(
            port, site_id=100 + number, domain=host, address=f"127.0.0.{number}"
        )
    certificates.hold(Authority(), HOST)
    settings = parse(
        {
            "node": {"name": "edge-test", "roles": ["proxy"], "data_dir": "/nonexistent"},
            "proxy": {
                "http": ["tcp:0:interface=127.0.0.1"],
                "https": ["tcp:0:interface=127.0.0.1"],
            },
        }
    )
    proxy = Proxy(
        settings, routes=routes, certificates=certificates, sink=NoRows(), reactor=reactor
    )

    def started(_: None) -> None:
        ports: list[Any] = [proxy.bound_addresses[scheme][0] for scheme in ("http", "https")]
        sys.stdout.write(f"{ports[0].port} {ports[1].port}\n")
        sys.stdout.flush()

    def failed(reason: object) -> None:
        sys.stderr.write(f"{reason}\n")
        reactor.stop()

    _ = Deferred.fromCoroutine(proxy.start()).addCallbacks(started, failed)
    reactor.run()


if __name__ == "__main__":
    main()
