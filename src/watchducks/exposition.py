"""Exposition: all samples, and what the process itself uses, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from watchducks.model.metrics import Sample

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


class Exposition:
    """Writes samples down, beside memory, CPU, open files and garbage collections of the process.

    :param samples: gives all there are now.
    """

    def __init__(self, samples: Callable[[], Iterable[Sample]]) -> None:
        # A registry of our own: the library's global one would collect whatever anybody imports.
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Ours(samples))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return the page that Prometheus reads; its type is :data:`CONTENT_TYPE`."""
        return generate_latest(self._registry)


class _Ours(Collector):
    def __init__(self, samples: Callable[[], Iterable[Sample]]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for sample in self._samples():
            family = families.get(sample.family)
            if family is None:
                family = Metric(sample.family, sample.help, sample.kind.value)
                families[sample.family] = family
            family.add_sample(sample.name, dict(sample.labels), sample.value)
        yield from families.values()
