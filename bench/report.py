"""Figures as Markdown: a table a row of the benchmark, and below it where its goals stand. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.goals import OURS, Goal, Values


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured.

    :ivar values: in ``unit``, of all runs, by server.
    """

    title: str
    unit: str
    values: Values
    goals: tuple[Goal, ...] = ()


def markdown(title: str, servers: Sequence[str], figures: Sequence[Figure]) -> str:
    """Return a heading, a table (median, and lowest to highest where they differ) and the goals."""
    lines = [
        f"### {title}",
        "",
        f"| | {' | '.join(servers)} |",
        f"|---|{'---|' * len(servers)}",
    ]
    for figure in figures:
        cells = " | ".join(_cell(server, figure.values.get(server, [])) for server in servers)
        lines.append(f"| {figure.title}, {figure.unit} | {cells} |")
    lines.append("")
    lines += [
        f"- {figure.title}: {goal.stand(figure.values)}"
        for figure in figures
        for goal in figure.goals
    ]
    return "\n".join(lines) + "\n"


def _cell(server: str, values: Sequence[float]) -> str:
    if not values:
        return "not yet" if server == OURS else ""
    low, middle, high = (_number(value) for value in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low}-{high})"


def _number(value: float) -> str:
    """Three significant digits: more than what two runs agree on."""
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"
