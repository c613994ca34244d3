"""A chart as a value: shapes in the coordinates of its picture; templates/report/chart.svg.j2 draws it.

Widths and heights are in the units of the picture's viewBox, about CSS pixels at full size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ..results.report import PART_LABELS
from ..results.table import Table

WIDTH: Final = 760.0
LEFT: Final = 64.0
RIGHT: Final = 16.0
TOP: Final = 14.0
BOTTOM: Final = 44.0
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Shape:
    """An area, a line or a bar."""

    d: str
    """SVG path data."""
    css: str
    title: str = ""
    """What a pointer sees; the same is in the chart's table."""


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    css: str
    title: str


@dataclass(frozen=True)
class Label:
    """Words in the picture, beside what they name."""

    x: float
    y: float
    text: str
    css: str
    anchor: str = "start"


@dataclass(frozen=True)
class Rule:
    """A horizontal line across the chart, with its meaning."""

    y: float
    text: str


@dataclass(frozen=True)
class Squeeze:
    """Where a chart's shapes go sideways."""

    scale: float
    shift: float

    def x(self, at: float) -> float:
        return round(self.scale * at + self.shift, 2)


@dataclass(frozen=True)
class Chart:
    """One picture, its words, and the table that says the same."""

    id: str
    title: str
    about: str
    """The description that a screen reader reads in place of the picture."""
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    height: float = 300.0
    shapes: tuple[Shape, ...] = ()
    dots: tuple[Dot, ...] = ()
    rules: tuple[Rule, ...] = ()
    labels: tuple[Label, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()
    """CSS class and words, in the order in which they are stacked or listed."""
    table: Table | None = None
    width: float = WIDTH
    left: float = LEFT
    right: float = RIGHT
    top: float = TOP
    bottom: float = BOTTOM
    grid: bool = True
    squeeze: Squeeze | None = None
    """How its shapes are moved; all else is where it is drawn."""

    @property
    def full_height(self) -> float:
        """With the legend below, where it is drawn."""
        return self.height + 12 + 20 * -(-len(self.legend) // 4)


@dataclass(frozen=True)
class Axis:
    """Values to coordinates, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The coordinate of a value, kept within the chart."""
        low, high, value = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 2)

    def values(self, count: int = 6) -> list[float]:
        """About as many round numbers along it."""
        return _decades(self.low, self.high, count) if self.logarithmic else nice(self.low, self.high, count)

    def ticks(self, count: int = 6) -> tuple[Tick, ...]:
        return tuple(Tick(self.at(value), label(value)) for value in self.values(count))


def x_axis(low: float, high: float, *, left: float = LEFT) -> Axis:
    return Axis(low, high if high > low else low + 1, left, WIDTH - RIGHT)


def y_axis(values: Iterable[float], height: float = 300.0, *, from_zero: bool = True) -> Axis:
    """An axis that holds all finite values; logarithmic where positive values span more than a decade and a half."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    ends = (height - BOTTOM, TOP)
    if not from_zero and low > 0 and high / low > 30:
        return Axis(low * 0.9, high * 1.1, *ends, logarithmic=True)
    if from_zero:
        low = min(low, 0.0)
    margin = 0.05 * (high - low) or abs(high) * 0.1 or 1.0
    return Axis(low if from_zero else low - margin, high + margin, *ends)


def nice(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers from `low` to `high`."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, count)
    power: float = 10.0 ** math.floor(math.log10(raw))
    step = next(power * s for s in _STEPS if power * s >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(step * k, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def label(value: float) -> str:
    """A number at an axis: short, exact enough."""
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def polyline(points: Sequence[tuple[float, float]]) -> str:
    """Path data of a line; a point that is not finite breaks it."""
    parts, down = [], False
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            down = False
            continue
        parts.append(f"{'L' if down else 'M'}{x:g} {y:g}")
        down = True
    return "".join(parts)


def band(xs: Sequence[float], lower: Sequence[float], upper: Sequence[float]) -> str:
    """Path data of the area between two curves over the same places."""
    there = [f"{x:g} {y:g}" for x, y in zip(xs, upper, strict=True)]
    back = [f"{x:g} {y:g}" for x, y in zip(reversed(xs), reversed(lower), strict=True)]
    return "M" + "L".join([*there, *back]) + "Z"


def stairs(edges: Sequence[float], lower: Sequence[float], upper: Sequence[float]) -> str:
    """Path data of the area between two step curves: one value between each two edges."""
    xs = [edges[i + side] for i in range(len(lower)) for side in (0, 1)]
    return band(xs, [y for y in lower for _ in (0, 1)], [y for y in upper for _ in (0, 1)])


def skyline(edges: Sequence[float], foot: float, tops: Sequence[float]) -> str:
    """Path data of bars side by side on a common foot: one between each two edges, equal neighbours as one."""
    parts, before = [f"M{edges[0]:g} {foot:g}"], foot
    for left, top in zip(edges[:-1], tops, strict=True):
        if top != before:
            parts.append(f"H{left:g}V{top:g}")
            before = top
    return "".join([*parts, f"H{edges[-1]:g}V{foot:g}Z"])


def words(part: str) -> str:
    """A part's name, without the numbers of the table's notes."""
    named = {"wait": "waiting for a rank", **PART_LABELS}
    return named.get(part, part.replace("_", " ")).split(" (")[0]


def bar(x: float, y: float, width: float, height: float) -> str:
    """Path data of a rectangle."""
    return f"M{x:g} {y:g}h{width:g}v{height:g}h{-width:g}Z"


def _decades(low: float, high: float, count: int) -> list[float]:
    """1, 2 and 5 of every decade; where those would be too many, its 1."""
    values = [
        m * 10.0**k for k in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)
    ]
    inside = [value for value in values if low <= value <= high]
    return inside if len(inside) <= 2 * count else [value for value in inside if value in values[::3]]
