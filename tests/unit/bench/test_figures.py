"""Where goals stand, and the Markdown that the benchmark prints."""

from __future__ import annotations

import pytest

from bench.goals import OURS, Above, AtMost, Goal, Ratio
from bench.report import Figure, markdown

VALUES = {"nginx": [10.0, 20.0, 90.0], OURS: [36.0, 30.0, 33.0]}


@pytest.mark.parametrize(
    ("goal", "stands"),
    [
        (Ratio(1.8, "nginx"), "at most 1.8 x nginx: 1.65 x, **PASS**"),
        (Ratio(1.65, "nginx"), "at most 1.65 x nginx: 1.65 x, **PASS**"),
        (Ratio(1.5, "nginx"), "at most 1.5 x nginx: 1.65 x, **short by 10%**"),
        (Ratio(1.65, "nginx", at_least=True), "at least 1.65 x nginx: 1.65 x, **PASS**"),
        (Ratio(3.3, "nginx", at_least=True), "at least 3.3 x nginx: 1.65 x, **short by 100%**"),
        (Ratio(1, OURS, of="nginx"), "at most 1 x WatchDucks: 0.61 x, **PASS**"),
        (Above(13, "nginx", "ms"), "at most 13 ms over nginx's: +13.00 ms, **PASS**"),
        (Above(10, "nginx", "ms"), "at most 10 ms over nginx's: +13.00 ms, **short by 30%**"),
        (AtMost(33, "MB"), "at most 33 MB: 33.0 MB, **PASS**"),
        (AtMost(30, "MB"), "at most 30 MB: 33.0 MB, **short by 10%**"),
    ],
)
def test_goal_looks_at_medians(goal: Goal, stands: str) -> None:
    assert goal.stand(VALUES) == stands


@pytest.mark.parametrize(
    ("goal", "values", "missing"),
    [
        (Ratio(0.8, "Caddy"), {"Caddy": [1.0]}, OURS),
        (Ratio(0.8, "Caddy"), {OURS: [1.0]}, "Caddy"),
        (Ratio(0.8, "Caddy"), {}, "WatchDucks, Caddy"),
        (Above(2, "nginx", "ms"), {"nginx": [1.0], OURS: []}, OURS),
        (AtMost(2, "MB"), {"nginx": [1.0]}, OURS),
    ],
)
def test_goal_without_figures_is_not_met_yet(
    goal: Goal, values: dict[str, list[float]], missing: str
) -> None:
    assert goal.stand(values).endswith(f": not yet ({missing})")


def test_report_shows_median_spread_and_what_is_missing() -> None:
    figures = [
        Figure("a request", "us", VALUES, (Ratio(1.8, "nginx"),)),
        Figure("memory", "MB", {"nginx": [9.876]}),
        Figure("rate", "MB/s", {OURS: [1234.5]}),
    ]
    assert markdown("Requests", ["nginx", "Caddy", OURS], figures) == (
        "### Requests\n"
        "\n"
        "| | nginx | Caddy | WatchDucks |\n"
        "|---|---|---|---|\n"
        "| a request, us | 20.0 (10.0-90.0) |  | 33.0 (30.0-36.0) |\n"
        "| memory, MB | 9.88 |  | not yet |\n"
        "| rate, MB/s |  |  | 1234 |\n"
        "\n"
        "- a request: at most 1.8 x nginx: 1.65 x, **PASS**\n"
    )
