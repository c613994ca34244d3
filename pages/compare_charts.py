"""The charts of a comparison: quality along three axes, times and rates of every run beside their interval."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Final

from ..results.breakdown import STEP_PARTS
from ..results.comparison import Comparison, Entry, Group
from ..results.statistics import Sample
from ..results.text import sanitise
from .plot import Axis, Chart, Dot, Rule, Shape, Tick, bar, polyline, words, x_axis, y_axis

AT_A_GLANCE: Final = ("strip-times", "split-of-step")
"""What a page shows before its tables."""
_AXES: Final = {
    "time": "seconds from run_start, everything on the clock",
    "steps": "training steps",
    "samples": "samples trained on, all ranks",
}
_STYLES: Final = 8
_LANE = 46.0
_LEFT = 64.0
_BAR, _GAP = 18.0, 8.0
_CSS: Final = {"exposed_transfer": "transfer", "exposed_wait": "wait"}


def charts_of_comparison(comparison: Comparison) -> list[Chart]:
    """Every chart that the runs have data for."""
    charts = [_quality(comparison, axis) for axis in _AXES]
    charts.append(_strip(comparison, "times", "Time to target, every run", "seconds"))
    charts.append(_strip(comparison, "rates", "Throughput, every run", "per second, within steps"))
    charts.append(_split(comparison))
    return [chart for chart in charts if chart]


def _split(comparison: Comparison) -> Chart | None:
    """A bar a group: the parts of its mean step, over ranks and runs."""
    bars = [(group, _parts_ms(group)) for group in comparison.groups]
    longest = max((sum(parts.values()) for _, parts in bars), default=0.0)
    if longest <= 0:
        return None
    x = x_axis(0, longest, left=_LEFT)
    shapes, lanes = [], []
    for row, (group, parts) in enumerate(bars):
        at, top = 0.0, 14 + row * (_BAR + _GAP)
        lanes.append(Tick(top + _BAR / 2, group.name))
        for part, long_ms in parts.items():
            left, right = x.at(at), x.at(at + long_ms)
            said = f"{group.name}: {words(_CSS.get(part, part))} {long_ms:.3g} ms"
            shapes.append(Shape(bar(left, top, right - left, _BAR), f"area part-{_CSS.get(part, part)}", said))
            at += long_ms
    drawn = dict.fromkeys(part for _, parts in bars for part, long_ms in parts.items() if long_ms > 0)
    return Chart(
        id="split-of-step",
        title="Where a step's time went",
        about="A bar a group: "
        + "; ".join(f"{sanitise(g.name)} {sum(parts.values()):.3g} ms" for g, parts in bars if parts)
        + ". Means over steps, ranks and runs.",
        x_label="milliseconds",
        y_label="",
        x_ticks=x.ticks(),
        y_ticks=tuple(lanes),
        height=14 + len(bars) * (_BAR + _GAP) + 44,
        shapes=tuple(shapes),
        legend=tuple((f"part-{_CSS.get(part, part)}", words(_CSS.get(part, part))) for part in drawn),
        grid=False,
    )


def _parts_ms(group: Group) -> dict[str, float]:
    found = [run.metrics.communication for run in group.runs if run.counts]
    compared = [one for one in found if one is not None and one.ranks]
    return {part: fmean(one.mean_ms(part) for one in compared) for part in STEP_PARTS} if compared else {}


def _quality(comparison: Comparison, axis: str) -> Chart | None:
    curves = [
        (i, group, run, [(at, value) for at, value in run.points(axis) if math.isfinite(value)])
        for i, group in enumerate(comparison.groups)
        for run in group.runs
    ]
    points = [point for *_, curve in curves for point in curve]
    if not points:
        return None
    spec = comparison.groups[0].runs[0].metrics.spec
    x = x_axis(0, max(at for at, _ in points))
    y = y_axis([*(value for _, value in points), spec.target], from_zero=False)
    targets = {run.metrics.spec.target for group in comparison.groups for run in group.runs}
    return Chart(
        id=f"quality-{axis}",
        title=f"{sanitise(spec.metric)[:1].upper()}{sanitise(spec.metric)[1:]} by {axis}",
        about=f"A line a run, {len(curves)} in all; groups differ in colour and dashes. Numbers: every run's table.",
        x_label=_AXES[axis],
        y_label=sanitise(spec.metric),
        x_ticks=x.ticks(),
        y_ticks=y.ticks(),
        shapes=tuple(
            Shape(polyline([(x.at(at), y.at(v)) for at, v in curve]), f"line s{i % _STYLES}", _name(group, run))
            for i, group, run, curve in curves
        ),
        rules=tuple(Rule(y.at(target), f"target {target:g}") for target in sorted(targets)),
        legend=_legend(comparison),
    )


def _strip(comparison: Comparison, which: str, title: str, unit: str) -> Chart | None:
    """A lane a group: a dot a run, a bar for the interval, a line for the median."""
    samples: list[Sample] = [getattr(group, which) for group in comparison.groups]
    values = [value for sample in samples for value in sample.values]
    if not values:
        return None
    x = x_axis(0, max(values) * 1.05, left=_LEFT)
    shapes, dots, lanes = [], [], []
    for i, (group, sample) in enumerate(zip(comparison.groups, samples, strict=True)):
        y = 14 + (i + 0.5) * _LANE
        lanes.append(Tick(y, group.name))
        dots += [Dot(x.at(v), y, f"s{i % _STYLES}", f"{group.name}: {v:.5g}") for v in sample.values]
        shapes += _interval(x, y, sample)
    return Chart(
        id=f"strip-{which}",
        title=title,
        about="A dot a run; the bar is the interval of the median (95 % from 6 runs on), the tick the median. "
        + "; ".join(
            f"{g.name}: median {s.median:.4g}" for g, s in zip(comparison.groups, samples, strict=True) if s.median
        ),
        x_label=unit,
        y_label="",
        x_ticks=x.ticks(),
        y_ticks=tuple(lanes),
        height=14 + len(lanes) * _LANE + 44,
        shapes=tuple(shapes),
        dots=tuple(dots),
        legend=_legend(comparison),
        grid=False,
    )


def _interval(x: Axis, y: float, sample: Sample) -> list[Shape]:
    shapes = []
    if sample.interval:
        low, high = x.at(sample.interval.low), x.at(sample.interval.high)
        shapes.append(Shape(f"M{low} {y + 10}V{y + 16}H{high}V{y + 10}", "whisker"))
    if sample.median is not None:
        shapes.append(Shape(f"M{x.at(sample.median)} {y - 12}V{y + 13}", "whisker"))
    return shapes


def _legend(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"s{i % _STYLES}", sanitise(f"{g.name} {g.label}".strip(), 80)) for i, g in enumerate(comparison.groups)
    )


def _name(group: Group, run: Entry) -> str:
    return sanitise(f"{group.name}: {run.metrics.spec.run_id}, seed {run.metrics.spec.seed}")
