"""The charts of task 0a: time and bus bandwidth against size, a line a backend, a chart an operation and type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ..results.raw import Point
from .plot import BOTTOM, RIGHT, TOP, WIDTH, Axis, Chart, Dot, Shape, Tick, band, label, polyline

Units = tuple[tuple[str, float], ...]
"""Names and sizes, the largest first."""

_BYTES: Final = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0))
_TIMES: Final = (("s", 1e6), ("ms", 1e3), ("us", 1.0))
_RATES: Final = (("GB/s", 1.0),)
_HEIGHT: Final = 300.0
_LEFT: Final = 96.0
_STYLES: Final = 4
_DOTS: Final = 16
"""Of more points in a line only those with a wrong result have a dot."""
_LEAST: Final = 1e-9
"""What a logarithmic axis takes a zero for."""


def charts_of_points(points: Sequence[Point]) -> list[Chart]:
    """Two charts for each operation and type, both axes logarithmic; of one rank no bus bandwidth."""
    charts = []
    for operation, dtype in dict.fromkeys((point.operation, point.dtype) for point in points):
        mine = [point for point in points if (point.operation, point.dtype) == (operation, dtype)]
        charts.append(_time(f"{operation}-{dtype}", f"{operation}, {dtype}", mine))
        if mine[0].busbw is not None:
            charts.append(_bandwidth(f"{operation}-{dtype}", f"{operation}, {dtype}", mine))
    return charts


def _time(name: str, title: str, points: Sequence[Point]) -> Chart:
    y = _axis([time for p in points for time in (p.p5_us, p.median_us, p.p95_us)], _HEIGHT - BOTTOM, TOP)
    about = "The median over repetitions, each as long as on its slowest rank; shaded: 5th to 95th percentile."
    areas = []
    for number, (backend, mine) in enumerate(_lines(points).items()):
        xs = [_sizes(points).at(p.size_bytes) for p in mine]
        low, high = [_at(y, p.p5_us) for p in mine], [_at(y, p.p95_us) for p in mine]
        areas.append(Shape(band(xs, low, high), f"spread {_css(number)}", f"{backend}: 5th to 95th percentile"))
    return _chart(f"time-{name}", f"{title}: time", about, _TIMES, points, y, lambda p: p.median_us, areas)


def _bandwidth(name: str, title: str, points: Sequence[Point]) -> Chart:
    y = _axis([p.busbw or 0.0 for p in points], _HEIGHT - BOTTOM, TOP)
    about = "Size over median time, times nccl-tests' factor of the operation."
    return _chart(f"bandwidth-{name}", f"{title}: bus bandwidth", about, _RATES, points, y, lambda p: p.busbw or 0.0)


def _chart(
    name: str,
    title: str,
    about: str,
    units: Units,
    points: Sequence[Point],
    y: Axis,
    value: Callable[[Point], float],
    areas: Sequence[Shape] = (),
) -> Chart:
    x, lines = _sizes(points), _lines(points)
    shapes, dots = [*areas], []
    for number, (backend, mine) in enumerate(lines.items()):
        places = [(x.at(p.size_bytes), _at(y, value(p))) for p in mine]
        shapes.append(Shape(polyline(places), f"line {_css(number)}", backend))
        dots += [
            Dot(*place, _css(number) if p.correct else "failed", _said(p, value(p), units))
            for place, p in zip(places, mine, strict=True)
            if len(mine) <= _DOTS or not p.correct
        ]
    return Chart(
        id=name,
        title=title,
        about=f"{about} A line a backend: {', '.join(lines)}. Numbers: the tables.",
        x_label="size",
        y_label="",
        x_ticks=_ticks(x, _BYTES),
        y_ticks=_ticks(y, units),
        height=_HEIGHT,
        shapes=tuple(shapes),
        dots=tuple(dots),
        legend=tuple((_css(number), backend) for number, backend in enumerate(lines)),
        left=_LEFT,
    )


def _lines(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Backend -> its points by size."""
    lines: dict[str, list[Point]] = {point.backend: [] for point in points}
    for point in sorted(points, key=lambda p: p.size_bytes):
        lines[point.backend].append(point)
    return lines


def _css(number: int) -> str:
    return f"s{number % _STYLES}"


def _sizes(points: Sequence[Point]) -> Axis:
    return _axis([point.size_bytes for point in points], _LEFT, WIDTH - RIGHT)


def _axis(values: Sequence[float], start: float, end: float) -> Axis:
    known = [max(value, _LEAST) for value in values]
    return Axis(min(known) * 0.9, max(known) * 1.1, start, end, logarithmic=True)


def _at(axis: Axis, value: float) -> float:
    return axis.at(max(value, _LEAST))


def _said(point: Point, value: float, units: Units) -> str:
    wrong = "" if point.correct else ", WRONG result"
    return f"{point.backend}: {point.size_bytes:,} bytes, {_in(value, units)}{wrong}"


def _ticks(axis: Axis, units: Units) -> tuple[Tick, ...]:
    return tuple(Tick(axis.at(value), _in(value, units)) for value in axis.values())


def _in(value: float, units: Units) -> str:
    """`20 us`, `1.5 MB`: in the largest unit of which there is a whole one."""
    unit, size = next((one for one in units if value >= one[1]), units[-1])
    return f"{label(value / size)} {unit}"
