"""Drawing: charts as SVG, for the first look at a page and for who has no script. Pure.

A drawing is stretched to the place that it gets, and its colours are the style sheet's: the content
security policy allows no style of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

Values = Sequence[float | None]

WIDTH: Final = 600
HEIGHT: Final = 150
# A gap in which nothing was observed is seen however short it is.
_MIN_GAP: Final = 2.0


def lines(
    times: Sequence[int],
    series: Sequence[Values],
    gaps: Sequence[tuple[int, int | None]] = (),
    *,
    before: Values = (),
    marks: Sequence[int] = (),
    stacked: bool = False,
    filled: bool = False,
) -> Markup:
    """Draw series over time.

    :param gaps: (began, ended) of what was not observed, POSIX seconds.
    :param before: what the first series was in the period before.
    :param marks: moments at which something happened, POSIX seconds.
    :param stacked: each series stands on those before it.
    :param filled: the area below the first is tinted.
    """
    drawn = _stacked(series) if stacked else [list(values) for values in series]
    everything = [*drawn, before]
    most = max((value for values in everything for value in values if value is not None), default=0)
    scale = (HEIGHT - 4) / most if most else 0.0
    parts = [_gap(times, gap) for gap in gaps]
    if before:
        path = "".join(_line(piece) for piece in _pieces(before, len(times), scale))
        parts.append(f'<path class="line before" d="{path}"/>')
    for number, values in reversed(list(enumerate(drawn, 1))):
        pieces = _pieces(values, len(times), scale)
        path = "".join(_line(piece) for piece in pieces)
        if stacked or (filled and number == 1):
            area = "".join(
                f"{_line(piece)}L{piece[-1][0]:g} {HEIGHT}L{piece[0][0]:g} {HEIGHT}Z"
                for piece in pieces
            )
            parts.append(f'<path class="area s{number}" d="{area}"/>')
        if not stacked:
            parts.append(f'<path class="line s{number}" d="{path}"/>')
    parts.extend(_mark(times, moment) for moment in marks)
    # All that is put in are numbers.
    return Markup(  # noqa: S704
        f'<svg class="drawing" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none"'
        f' aria-hidden="true">{"".join(parts)}</svg>'
    )


def spark(values: Values) -> Markup:
    """Draw one series, small, as it stands in a table."""
    return lines(range(len(values)), [values], filled=True)


def bar(share: float) -> Markup:
    """Draw the bar behind a line of a list. :param share: of the longest, from 0 to 1."""
    percent = max(0.5, min(1.0, share) * 100)
    return Markup(  # noqa: S704
        f'<svg class="bar" aria-hidden="true"><rect width="{percent:.1f}%" height="100%"/></svg>'
    )


def _stacked(series: Sequence[Values]) -> list[list[float | None]]:
    below: list[float] = []
    found: list[list[float | None]] = []
    for values in series:
        below = [
            value_below + (value or 0.0)
            for value_below, value in zip(below or [0.0] * len(values), values, strict=True)
        ]
        found.append(list(below))
    return found


def _pieces(values: Values, points: int, scale: float) -> list[list[tuple[float, float]]]:
    """Return the points of each run without a missing value."""
    step = WIDTH / max(1, points - 1)
    found: list[list[tuple[float, float]]] = []
    open_ = False
    for index, value in enumerate(values):
        if value is None:
            open_ = False
            continue
        point = (round(index * step, 1), round(HEIGHT - 2 - value * scale, 1))
        if open_:
            found[-1].append(point)
        else:
            found.append([point])
        open_ = True
    return found


def _line(piece: Sequence[tuple[float, float]]) -> str:
    if len(piece) == 1:  # a line of no length is not drawn
        x, y = piece[0]
        return f"M{x - 1:g} {y:g}H{x + 1:g}"
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in piece)


def _mark(times: Sequence[int], moment: int) -> str:
    if len(times) < 2 or not times[0] <= moment < times[-1] + times[1] - times[0]:
        return ""
    x = min(1.0, (moment - times[0]) / (times[-1] - times[0])) * WIDTH
    return f'<path class="mark" d="M{x:.1f} 0V{HEIGHT}"/>'


def _gap(times: Sequence[int], gap: tuple[int, int | None]) -> str:
    if len(times) < 2:
        return ""
    start, end = times[0], times[-1]
    began, ended = gap[0], end if gap[1] is None else gap[1]
    left = (max(start, began) - start) / (end - start) * WIDTH
    # One that began after the last point's time is at the edge, where it will be.
    left = min(left, WIDTH - _MIN_GAP)
    right = (min(end, ended) - start) / (end - start) * WIDTH
    if right < 0 or began >= end + (times[1] - times[0]):
        return ""
    width = max(_MIN_GAP, right - left)
    return f'<rect class="gap" x="{left:.1f}" width="{width:.1f}" height="{HEIGHT}"/>'
