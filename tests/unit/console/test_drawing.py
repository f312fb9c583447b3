"""Charts as SVG."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from watchducks.console.drawing import HEIGHT, WIDTH, bar, lines, spark

TIMES = [0, 100, 200, 300]


def paths(markup: str, kind: str) -> list[str]:
    return [
        element.get("d", "")
        for element in ET.fromstring(markup).iter("path")
        if kind in element.get("class", "").split()
    ]


def test_the_highest_value_is_at_the_top_and_nothing_at_the_bottom() -> None:
    (line,) = paths(lines(TIMES, [[0, 5, 10, None]]), "line")
    assert line == f"M0 {HEIGHT - 2}L200 {HEIGHT / 2:g}L400 2"


def test_a_missing_value_parts_the_line_and_a_lonely_one_is_seen() -> None:
    (line,) = paths(lines(TIMES, [[1, 1, None, 1]]), "line")
    assert line.count("M") == 2
    assert re.search(rf"M{WIDTH - 1} [\d.]+H{WIDTH + 1}$", line)


def test_stacked_series_end_at_their_sum() -> None:
    upper, lower = paths(lines(TIMES, [[1] * 4, [3] * 4], stacked=True), "area")
    assert upper.startswith("M0 2L")
    assert lower.startswith(f"M0 {HEIGHT - 2 - (HEIGHT - 4) / 4:g}L")


def test_gaps_are_cut_to_the_chart() -> None:
    gaps = [(-100, 50), (250, None), (500, 600), (100, 100)]
    found = [
        (float(rect.get("x", "")), float(rect.get("width", "")))
        for rect in ET.fromstring(lines(TIMES, [[1] * 4], gaps)).iter("rect")
    ]
    assert found == [(0.0, 100.0), (500.0, 100.0), (200.0, 2.0)]


def test_marks_are_drawn_where_something_happened() -> None:
    found = [
        path.get("d")
        for path in ET.fromstring(lines(TIMES, [[1] * 4], marks=[-1, 0, 150, 399, 400])).iter(
            "path"
        )
        if path.get("class") == "mark"
    ]
    assert found == ["M0.0 0V150", "M300.0 0V150", "M600.0 0V150"]
    assert "mark" not in lines([0], [[1]], marks=[0])


def test_nothing_at_all_can_be_drawn() -> None:
    for markup in (lines([], []), lines([0], [[None]]), lines(TIMES, [[0] * 4]), spark([])):
        assert ET.fromstring(markup).tag == "svg"


def test_bars_have_no_style_of_their_own() -> None:
    assert 'width="62.0%"' in bar(0.62)
    assert 'width="100.0%"' in bar(7)
    assert "style" not in bar(0)


def test_the_period_before_lies_below_on_the_same_scale() -> None:
    markup = lines(TIMES, [[0, 5, None, None]], before=[10, 10, 10, 10])
    (before,) = paths(markup, "before")
    assert before.startswith("M0 2L")
    line = next(path for path in paths(markup, "line") if path != before)
    assert line == f"M0 {HEIGHT - 2}L200 {HEIGHT / 2:g}"
    assert markup.index("before") < markup.index("s1")
    assert paths(lines(TIMES, [[1, 2, 3, 4]]), "before") == []
