"""Samples: their families, and the histogram of durations."""

from __future__ import annotations

import pytest

from watchducks.model.metrics import Durations, Sample, counter, gauge


def by_label(samples: list[Sample], name: str) -> dict[str, float]:
    return {dict(s.labels).get("le", ""): s.value for s in samples if s.name == name}


def test_a_family_is_the_name_without_what_its_kind_adds() -> None:
    assert counter("a_total", "", 1).family == "a"
    assert gauge("a_total", "", 1).family == "a_total"
    names = {sample.name for sample in Durations().samples("a_seconds", "")}
    assert names == {"a_seconds_bucket", "a_seconds_sum", "a_seconds_count"}
    assert {sample.family for sample in Durations().samples("a_seconds", "")} == {"a_seconds"}


@pytest.mark.parametrize(
    ("microseconds", "first_bucket"),
    [(0, "6.4e-05"), (63, "6.4e-05"), (64, "0.000128"), (1_000_000, "1.048576"), (2**30, "+Inf")],
)
def test_a_duration_is_in_the_first_bucket_that_is_above_it(
    microseconds: int, first_bucket: str
) -> None:
    durations = Durations()
    durations.add(microseconds)
    samples = list(durations.samples("a_seconds", ""))
    buckets = by_label(samples, "a_seconds_bucket")
    filled = [bound for bound, count in buckets.items() if count]
    assert filled[0] == first_bucket
    assert set(buckets.values()) <= {0, 1}
    assert buckets["+Inf"] == by_label(samples, "a_seconds_count")[""] == 1
    assert by_label(samples, "a_seconds_sum")[""] == microseconds / 1_000_000


def test_buckets_are_cumulative_and_never_lose_what_is_longest() -> None:
    durations = Durations()
    for bits in range(60):
        durations.add(1 << bits)
    counts = list(by_label(list(durations.samples("a_seconds", "")), "a_seconds_bucket").values())
    assert counts == sorted(counts)
    assert counts[-1] == 60
