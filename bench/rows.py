"""The rows of the benchmark: what is measured, of which servers, and the goals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from bench.goals import OURS, Above, AtMost, Ratio
from bench.load import CONNECTIONS, H2_CONNECTIONS, H2_STREAMS, LARGE_CONNECTIONS, Cost, Load
from bench.machine import resident_bytes
from bench.peers import LARGE_BYTES, Proxy
from bench.registry import some_hosts
from bench.report import Figure, markdown
from bench.servers import KINDS, Servers
from bench.visitors import handshakes, idle_connections, paced, speaks_http2

_MICROSECONDS: Final = 1e6
_MEGABYTE: Final = 1e6
_CPU: Final = "us of CPU"
# How much two measurements of one and the same server differ here: less is no difference.
_SAME: Final = 1.05
# The 10 sites that are asked for, and a registry that has nothing else.
_FEW_SITES: Final = 10
_PACE: Final = 1000

Values = defaultdict[str, list[float]]
Costs = defaultdict[str, list[Cost]]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    :ivar runs: of each server, one after the other. :ivar seconds: of each run.
    :ivar idle: connections for the memory row. :ivar sites: of the large registry.
    """

    runs: int
    seconds: float
    idle: int
    sites: int


@dataclass
class Bench:
    """What rows need: the servers, which are started when a row first wants them, and the load."""

    servers: Servers
    load: Load
    scale: Scale
    say: Callable[[str], None]
    _fleet: dict[str, Proxy] = field(default_factory=dict)

    def fleet(self) -> Mapping[str, Proxy]:
        """Return one proxy of each kind; the same ones for each row."""
        for kind in KINDS:
            if kind not in self._fleet:
                self._fleet[kind] = self.servers.proxy(kind)
        return self._fleet

    def interleaved(self, proxies: Mapping[str, Proxy], once: Callable[[str, Proxy], None]) -> None:
        """Measure each proxy in turn, as often as the scale says, so that what else the machine
        does at the time meets all of them."""
        for number in range(self.scale.runs):
            for name, proxy in proxies.items():
                self.say(f"run {number + 1} of {self.scale.runs}: {name}")
                once(name, proxy)


def http(bench: Bench) -> str:
    """Plain HTTP."""
    return _requests(bench, "HTTP -> http origin, logged", "http", (Ratio(1.6, "nginx"),))


def tls(bench: Bench) -> str:
    """HTTP/1.1 over TLS."""
    goals = (Ratio(1.8, "nginx"), Ratio(0.5, "Caddy"))
    return _requests(bench, "TLS -> http origin, logged", "https", goals)


def _requests(bench: Bench, title: str, scheme: str, goals: tuple[Ratio, ...]) -> str:
    costs = Costs(list)

    def once(name: str, proxy: Proxy) -> None:
        costs[name].append(bench.load.http1(proxy, scheme, "/small", CONNECTIONS))

    bench.interleaved(bench.fleet(), once)
    figures = _of_requests(costs, goals)
    return markdown(f"{title}; {CONNECTIONS} kept connections, 700 bytes", KINDS, figures)


def http2(bench: Bench) -> str:
    """HTTP/2 over TLS."""
    costs = Costs(list)

    def once(name: str, proxy: Proxy) -> None:
        costs[name].append(bench.load.http2(proxy))

    able = {name: proxy for name, proxy in bench.fleet().items() if speaks_http2(proxy)}
    bench.interleaved(able, once)
    return markdown(
        f"HTTP/2 over TLS -> http origin, logged; {H2_CONNECTIONS} connections with"
        f" {H2_STREAMS} streams, 700 bytes",
        KINDS,
        _of_requests(costs, (Ratio(0.8, "Caddy"),)),
    )


def _of_requests(costs: Costs, goals: tuple[Ratio, ...]) -> list[Figure]:
    total = {
        name: [cost.total * _MICROSECONDS for cost in several] for name, several in costs.items()
    }
    after = {OURS: [cost.after * _MICROSECONDS for cost in costs[OURS]]}
    return [
        Figure("a request", _CPU, total, goals),
        Figure("of these, the threads that ship its row", _CPU, after),
    ]


def tls_handshakes(bench: Bench) -> str:
    """TLS 1.3 handshakes, with nothing after them."""
    full, resumed = Values(list), Values(list)

    def once(name: str, proxy: Proxy) -> None:
        for is_resumed, values in ((False, full), (True, resumed)):
            cost = handshakes(proxy, bench.scale.seconds, resumed=is_resumed)
            values[name].append(cost * _MICROSECONDS)

    bench.interleaved(bench.fleet(), once)
    goals = (Ratio(1.3, "nginx"),)
    return markdown(
        "TLS 1.3 handshakes, P-256 certificate, X25519; connection opened and closed",
        KINDS,
        [Figure("full", _CPU, full, goals), Figure("resumed", _CPU, resumed, goals)],
    )


def large(bench: Bench) -> str:
    """Large answers."""
    rates = Values(list)

    def once(name: str, proxy: Proxy) -> None:
        cost = bench.load.http1(proxy, "http", "/large", LARGE_CONNECTIONS)
        rates[name].append(LARGE_BYTES / _MEGABYTE / cost.total)

    bench.interleaved(bench.fleet(), once)
    return markdown(
        f"1 MiB answers, HTTP -> http origin; {LARGE_CONNECTIONS} kept connections",
        KINDS,
        [Figure("rate", "MB per CPU second", rates, (Ratio(0.5, "nginx", at_least=True),))],
    )


def latency(bench: Bench) -> str:
    """Time that visitors wait, under a steady and light load."""
    middle, high = Values(list), Values(list)

    def once(name: str, proxy: Proxy) -> None:
        took = paced(proxy, _PACE, bench.scale.seconds)
        middle[name].append(took[len(took) // 2] * 1000)
        high[name].append(took[len(took) * 99 // 100] * 1000)

    bench.interleaved(bench.fleet(), once)
    return markdown(
        f"Latency at {_PACE:,} requests/s, HTTP -> http origin, the origin's time included",
        KINDS,
        [
            Figure("p50", "ms", middle, (Above(0.4, "nginx", "ms"),)),
            Figure("p99", "ms", high, (Above(2.0, "nginx", "ms"),)),
        ],
    )


def memory(bench: Bench) -> str:
    """Resident memory of fresh servers, once each."""
    base, idle, sites = Values(list), Values(list), Values(list)
    count = bench.scale.idle
    for kind in KINDS:
        bench.say(f"memory of {kind}")
        proxy = bench.servers.proxy(kind)
        with idle_connections(proxy, 1):
            before = resident_bytes(proxy.pid)
        base[kind].append(before / _MEGABYTE)
        with idle_connections(proxy, count):
            idle[kind].append((resident_bytes(proxy.pid) - before) / count / 1000)
        bench.servers.stop_one(proxy)
    bench.say(f"memory of {OURS} with {bench.scale.sites:,} sites")
    full = bench.servers.ours(sites=bench.scale.sites)
    with idle_connections(full, 1):
        more = resident_bytes(full.pid) / _MEGABYTE - base[OURS][0]
    sites[OURS].append(more / (bench.scale.sites / 1000))
    bench.servers.stop_one(full)
    return markdown(
        "Resident memory of a fresh server",
        KINDS,
        [
            Figure("with one site", "MB", base, (AtMost(60, "MB"),)),
            Figure(f"idle TLS connection (of {count:,})", "kB", idle, (AtMost(40, "kB"),)),
            Figure(f"1,000 sites (of {bench.scale.sites:,})", "MB", sites, (AtMost(4, "MB"),)),
        ],
    )


def many_sites(bench: Bench) -> str:
    """Whether a request costs more where many sites are registered."""
    few, many = f"{_FEW_SITES} sites", f"{bench.scale.sites:,} sites"
    sizes = {few: _FEW_SITES, many: bench.scale.sites}
    proxies = {name: bench.servers.ours(sites=size) for name, size in sizes.items()}
    total = Values(list)

    def once(name: str, proxy: Proxy) -> None:
        hosts = some_hosts(sizes[name], _FEW_SITES - 1)
        cost = bench.load.http1(proxy, "http", "/small", CONNECTIONS, hosts)
        total[name].append(cost.total * _MICROSECONDS)

    bench.interleaved(proxies, once)
    for proxy in proxies.values():
        bench.servers.stop_one(proxy)
    return markdown(
        f"{OURS} with few and with many registered sites; {_FEW_SITES - 1} random ones asked for",
        list(sizes),
        [Figure("a request", _CPU, total, (Ratio(_SAME, few, of=many),))],
    )


ROWS: Final[Mapping[str, Callable[[Bench], str]]] = {
    "memory": memory,
    "http": http,
    "tls": tls,
    "http2": http2,
    "handshakes": tls_handshakes,
    "large": large,
    "latency": latency,
    "sites": many_sites,
}


def chosen(names: Iterable[str]) -> list[Callable[[Bench], str]]:
    """Return the rows of these names, in the order of :data:`ROWS`."""
    wanted = set(names)
    return [row for name, row in ROWS.items() if name in wanted]
