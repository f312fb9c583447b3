"""Percentiles of histograms."""

from __future__ import annotations

import math

import pytest

from watchducks.analytics.histograms import QUANTILES, Histogram


def bounds_of(bucket: int) -> tuple[float, float]:
    return 2 ** ((bucket + 47) / 8), 2 ** ((bucket + 48) / 8)


def test_nothing_has_no_percentiles() -> None:
    assert all(math.isnan(value) for value in Histogram().quantiles())


def test_a_single_time_is_within_its_bucket() -> None:
    low, high = bounds_of(60)
    found = Histogram.read("[60]", "[1]").quantiles()
    assert found == sorted(found)
    assert low < found[0] < found[-1] < high


def test_a_percentile_is_where_its_rank_is() -> None:
    """Of a hundred times the 50th is the last of the first bucket, all others are in the second."""
    times = Histogram.read("[30]", "[20]") + Histogram.read("[10, 30]", "[50, 30]")
    found = dict(zip(QUANTILES, times.quantiles(), strict=True))
    assert found[0.5] == pytest.approx(bounds_of(10)[1])
    low, high = bounds_of(30)
    assert low < found[0.9] < found[0.95] < found[0.99] < high
    assert found[0.9] == pytest.approx(low * (high / low) ** 0.8)
