"""How soon sites have certificates: ``python -m bench.certificates [--sites N] [--bad-nonces P]``.

One appliance, Pebble as the authority and unbound between it and our name server. All sites wait at
once: they are registered while the authority is frozen. Said are the seconds from its return until
each site is certified, and how many orders and attempts that took: one failed validation is one too
many, for authorities count them.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "src")]

from tests.servers.pebble import Pebble  # noqa: E402 - found by the path above
from tests.servers.unbound import Unbound  # noqa: E402
from tests.servers.waiting import wait_until  # noqa: E402
from tests.system.appliance import Twistd, api, curl  # noqa: E402
from tests.system.origin import ADDRESS  # noqa: E402

ORDERS: Final = "watchducks_certificate_orders_total"
FAILURES: Final = "watchducks_certificate_failures_total"
# Far more than the goal of three minutes; beyond it something hangs.
DEADLINE_SECONDS: Final = 600.0


def metric(app: Twistd, name: str) -> float:
    """Return the value of a metric without labels."""
    found = re.search(rf"^{name} (\S+)$", curl(f"{app.console}/metrics").stdout, re.MULTILINE)
    return float(found[1]) if found else -1.0


def certified(app: Twistd, sites: int) -> int:
    """Return how many sites are certified."""
    count, page = 0, "?"
    while page:
        _, document = api("GET", f"{app.console}/api/v1/sites{page}limit=500")
        count += sum(site["state"] in ("certified", "active") for site in document["sites"])
        page = f"?after={document['next']}&" if document["next"] else ""
    return min(count, sites)


def measure(sites: int, bad_nonces: int, challenge: str, per_certificate: int) -> tuple[float, ...]:
    """Return seconds for half of the sites and for all, orders, and failed attempts."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("pebble", "unbound"):
            Path(folder, name).mkdir()
        pebble, unbound = Pebble(Path(folder, "pebble")), Unbound(Path(folder, "unbound"))
        own = {
            "directory": pebble.directory_url,
            "ca_file": str(pebble.ca_file),
            "challenge": challenge,
            "names_per_certificate": per_certificate,
        }
        app = Twistd(Path(folder, "app"), {"certificates": own})
        try:
            unbound.start()
            unbound.know({"example": [("127.0.0.1", app.ports["dns"])]})
            http_port = app.ports["http"]
            pebble.be(dns_port=unbound.port, http_port=http_port, bad_nonces=bad_nonces)
            app.start()
            pebble.pause()
            for number in range(sites):
                site = {
                    "name": f"s{number}",
                    "domain": f"s{number}.example",
                    "origin": f"http://{ADDRESS}:8080",
                    "email": f"o{number}@s{number}.example",
                }
                code, answer = api("POST", f"{app.console}/api/v1/sites", site)
                if code != 201:
                    raise SystemExit(f"a registration failed: {answer}")
            began = time.monotonic()
            pebble.resume()
            wait_until(lambda: certified(app, sites) * 2 >= sites, "half of them", DEADLINE_SECONDS)
            half = time.monotonic() - began
            wait_until(lambda: certified(app, sites) == sites, "all of them", DEADLINE_SECONDS)
            took = time.monotonic() - began
            return half, took, metric(app, ORDERS), metric(app, FAILURES)
        finally:
            app.stop()
            unbound.stop()
            pebble.stop()


def main() -> None:
    """Measure and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=200)
    parser.add_argument("--bad-nonces", type=int, default=5, help="of a hundred")
    parser.add_argument("--challenge", choices=("dns-01", "http-01"), default="dns-01")
    parser.add_argument("--per-certificate", type=int, default=1, help="sites of one")
    chosen = parser.parse_args()
    half, took, orders, failures = measure(
        chosen.sites, chosen.bad_nonces, chosen.challenge, chosen.per_certificate
    )
    sys.stdout.write(
        f"{chosen.sites} sites at once, {chosen.challenge}, {chosen.bad_nonces} % bad nonces:"
        f" half after {half:.1f} s, all after {took:.1f} s;"
        f" {orders:.0f} orders, {failures:.0f} failed attempts\n"
    )


if __name__ == "__main__":
    main()
