"""A proxy in a process of its own, for tests that measure it: ``proxy_process.py ORIGIN_PORT``.

Prints the port of its http listener once it listens, and serves until it is ended.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT), str(_ROOT / "src")]

from twisted.internet.defer import Deferred  # noqa: E402 - found by the path above

from tests.wire.proxying import HOST, FakeCertificates, FakeRoutes, Rows, route_to  # noqa: E402
from watchducks.proxy.service import Proxy  # noqa: E402
from watchducks.settings import parse  # noqa: E402


def main() -> None:
    """Serve."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    routes = FakeRoutes()
    routes.routes[HOST] = route_to(int(sys.argv[1]))
    settings = parse(
        {
            "node": {"name": "edge-test", "roles": ["proxy"], "data_dir": "/nonexistent"},
            "proxy": {"http": ["tcp:0:interface=127.0.0.1"], "https": []},
        }
    )
    proxy = Proxy(
        settings, routes=routes, certificates=FakeCertificates(), sink=Rows(), reactor=reactor
    )

    def started(_: None) -> None:
        address: Any = proxy.bound_addresses["http"][0]
        sys.stdout.write(f"{address.port}\n")
        sys.stdout.flush()

    def failed(reason: object) -> None:
        sys.stderr.write(f"{reason}\n")
        reactor.stop()

    _ = Deferred.fromCoroutine(proxy.start()).addCallbacks(started, failed)
    reactor.run()


if __name__ == "__main__":
    main()
