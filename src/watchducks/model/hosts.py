"""Hosts: what each process of ours tells of itself, so that one console shows them all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from watchducks.model.metrics import Kind, Sample

# What those who run the service see of each host; the rest is Prometheus'.
SHOWN: Final = frozenset(
    {
        "watchducks_proxy_healthy",
        "watchducks_proxy_verdict_seconds",
        "watchducks_spool_bytes",
        "watchducks_rows_recorded_total",
        "watchducks_rows_shipped_total",
        "watchducks_rows_held",
        "watchducks_rows_lost_total",
        "watchducks_shipper_lag_seconds",
        "watchducks_segments_rejected_total",
        "watchducks_requests_total",
        "watchducks_connections",
        "watchducks_dns_questions_total",
        "watchducks_certificates",
        "watchducks_certificate_failing_sites",
        "watchducks_certificate_expiry_timestamp_seconds",
        "watchducks_certificate_file_expiry_timestamp_seconds",
    }
)
# Samples of a host: 64 processes with a dozen each, some 100 kB.
MAX_SAMPLES: Final = 800
# A host reports three times in this time; one that has not is not there, or cannot reach the
# registry.
SILENT_SECONDS: Final = 90


@dataclass(frozen=True, slots=True)
class HostReport:
    """What one host said of itself.

    :ivar at: when, POSIX seconds. :ivar since: of its start.
    :ivar workers: processes for traffic; 0: one process does everything.
    :ivar load: runnable processes of the machine over one minute, and its cores.
    :ivar checks: part -> whether it can work.
    """

    name: str
    at: int
    since: int
    version: str
    roles: tuple[str, ...]
    workers: int
    load: tuple[float, int]
    checks: Mapping[str, bool]
    samples: tuple[Sample, ...]

    def silent(self, now: float) -> bool:
        """Return whether the host should have said something since."""
        return now - self.at > SILENT_SECONDS


def machine_load() -> tuple[float, int]:
    """Return the load of this machine over one minute, and how many cores we may use."""
    return round(os.getloadavg()[0], 2), len(os.sched_getaffinity(0))


def shown(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """Return of a host's samples what others see."""
    return tuple(sample for sample in samples if sample.name in SHOWN)[:MAX_SAMPLES]


def packed(report: HostReport) -> bytes:
    """Return a report as it is kept; name and time are beside it."""
    document = {
        "since": report.since,
        "version": report.version,
        "roles": report.roles,
        "workers": report.workers,
        "load": report.load,
        "checks": dict(report.checks),
        "samples": [[each.name, each.labels, each.value] for each in report.samples],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def unpacked(name: str, at: int, content: bytes) -> HostReport | None:
    """Return what :func:`packed` wrote; None: another version wrote it, and nobody can read it."""
    try:
        found: dict[str, Any] = json.loads(content)
        load, cores = found["load"]
        return HostReport(
            name,
            at,
            int(found["since"]),
            str(found["version"]),
            tuple(map(str, found["roles"])),
            int(found["workers"]),
            (float(load), int(cores)),
            {str(part): bool(works) for part, works in found["checks"].items()},
            tuple(
                Sample(str(what), Kind.GAUGE, "", tuple((a, b) for a, b in labels), float(value))
                for what, labels, value in found["samples"]
            ),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
