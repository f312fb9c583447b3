"""Load, and what it cost the server: wrk for HTTP/1.1, h2load for HTTP/2.

The origin counts the requests, so that all generators are measured alike. A run has three parts::

    start ... warm ..................... window end ... load ends ... rows shipped
              |<- serving: CPU / requests ->|
    |<- after: CPU of shipping the log rows / all requests of the run ----->|

The first moments, in which 64 connections and their TLS handshakes are made, are not in the
window; what a server does after the requests are served is, in full.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from bench.machine import OTHER_CORE, BenchmarkError, on_core, program
from bench.peers import Origin, Proxy
from bench.registry import HOST
from tests.servers.ports import LOOPBACK

CONNECTIONS: Final = 64
# 1 MiB answers: enough to keep the server busy, without measuring who queues best.
LARGE_CONNECTIONS: Final = 16
# HTTP/2: as many requests under way as the 64 connections of HTTP/1.1 have.
H2_CONNECTIONS, H2_STREAMS = 2, 32

# Before and after the window: connections are made, and end at different times.
_EDGE_SECONDS: Final = 0.5
# For a generator to end by itself after its time is up.
_PATIENCE_SECONDS: Final = 10.0
# What browsers send, in size and number of fields.
_HEADERS: Final = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Cookie": "session=0123456789abcdef",
}
_WRK_FAULTS: Final = re.compile(r"^.*(?:Socket errors|Non-2xx).*$", re.MULTILINE)
_H2LOAD_FINE: Final = re.compile(
    r"\b0 failed, 0 errored, 0 timeout\s+status codes: [1-9]\d* 2xx, 0"
)

# The name is the bench's own, so it is resolved here; with a list of hosts, requests go to them in
# turn, made ready beforehand.
_WRK_SCRIPT: Final = """
function wrk.resolve(host, service) wrk.addrs = wrk.lookup("{address}", service) end
local hosts = {{ {hosts} }}
if #hosts > 0 then
  local requests, next_one = {{}}, 0
  function init(args)
    for number, host in ipairs(hosts) do
      wrk.headers["Host"] = host
      requests[number] = wrk.format("GET")
    end
  end
  function request()
    next_one = next_one % #requests + 1
    return requests[next_one]
  end
end
"""


class Cost(NamedTuple):
    """CPU seconds of a request.

    :ivar serving: until it was answered. :ivar after: for its log row.
    """

    serving: float
    after: float

    @property
    def total(self) -> float:
        return self.serving + self.after


@dataclass(frozen=True, slots=True)
class Load:
    """Runs a generator against one proxy at a time.

    :ivar seconds: the window's length. :ivar directory: for scripts of ours.
    """

    origin: Origin
    seconds: float
    directory: Path

    def http1(
        self, proxy: Proxy, scheme: str, path: str, connections: int, hosts: list[str] | None = None
    ) -> Cost:
        """Measure HTTP/1.1 on kept connections.

        :param hosts: which hosts to ask for, in turn; None: the bench's own.
        :raises BenchmarkError: an answer was not 200, or a connection broke.
        """
        script = self.directory / "wrk.lua"
        quoted = ", ".join(f'"{host}"' for host in hosts or ())
        script.write_text(_WRK_SCRIPT.format(address=LOOPBACK, hosts=quoted))
        command = [
            *(program("wrk"), "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{self._load_seconds}s", "--timeout", "10s", "--script", str(script)),
        ]
        for name, value in _HEADERS.items():
            command += ["--header", f"{name}: {value}"]
        cost, output = self._run(proxy, [*command, _url(proxy, scheme, path)])
        fault = _WRK_FAULTS.search(output)
        if fault is not None:
            raise BenchmarkError(f"{proxy.name}: {fault[0].strip()}")
        return cost

    def http2(self, proxy: Proxy) -> Cost:
        """Measure HTTP/2 over TLS.

        :raises BenchmarkError: an answer was not 200, or a connection broke.
        """
        command = [
            *(program("h2load"), "--threads", "1", "--clients", str(H2_CONNECTIONS)),
            *("--max-concurrent-streams", str(H2_STREAMS), "--duration", str(self._load_seconds)),
            *("--connect-to", f"{LOOPBACK}:{proxy.ports['https']}"),
        ]
        for name, value in _HEADERS.items():
            command += ["--header", f"{name}: {value}"]
        cost, output = self._run(proxy, [*command, _url(proxy, "https", "/small")])
        if not _H2LOAD_FINE.search(output):
            raise BenchmarkError(f"{proxy.name}: h2load failed:\n{output}")
        return cost

    @property
    def _load_seconds(self) -> int:
        # Generators take whole seconds.
        return int(self.seconds + 2 * _EDGE_SECONDS + 0.999)

    def _run(self, proxy: Proxy, command: list[str]) -> tuple[Cost, str]:
        start = proxy.usage()
        start_requests = self.origin.requests()
        with subprocess.Popen(
            on_core(OTHER_CORE, command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as generator:
            try:
                _pass(generator, _EDGE_SECONDS)
                warm, warm_requests = proxy.usage(), self.origin.requests()
                _pass(generator, self.seconds)
                end, end_requests = proxy.usage(), self.origin.requests()
                output, _ = generator.communicate(timeout=_PATIENCE_SECONDS)
            finally:
                generator.kill()
        if generator.returncode != 0 or end_requests <= warm_requests:
            raise BenchmarkError(f"{proxy.name}: {command[0]} failed:\n{output}")
        proxy.finish()
        requests = self.origin.requests() - start_requests
        return Cost(
            (end.serving - warm.serving) / (end_requests - warm_requests),
            (proxy.usage().after - start.after) / requests,
        ), output


def _pass(generator: subprocess.Popen[str], seconds: float) -> None:
    """Let time pass; a generator that ends meanwhile has failed."""
    try:
        output, _ = generator.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return
    raise BenchmarkError(f"the load ended early:\n{output}")


def _url(proxy: Proxy, scheme: str, path: str) -> str:
    return f"{scheme}://{HOST}:{proxy.ports[scheme]}{path}"
