"""The charts of a scaling series: speed-up with its curve and prediction, efficiency taken apart, and the runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..results.compare import compared, group_of
from ..results.comparison import Comparison
from ..results.scale import Point, Scaling
from ..results.scale_fit import Fit
from ..results.scale_report import nodes_of
from ..results.text import count
from .compare_charts import charts_of_comparison
from .plot import LEFT, WIDTH, Axis, Chart, Dot, Label, Shape, Tick, band, label, polyline

LEAD: Final = ("speed-up", "efficiency")
"""What a page begins with."""
_HEIGHT: Final = 340.0
_MARGIN: Final = 156.0
"""On the right, for the words beside the lines."""
_SMOOTH: Final = 40
_LINE_APART: Final = 17.0


def charts_of_scaling(scaling: Scaling) -> list[Chart]:
    """Every chart that the series has data for."""
    charts = [_speed_up(scaling), _efficiency(scaling)] if len(scaling.points) > 1 else []
    return [*charts, *charts_of_comparison(comparison_of(scaling))]


def comparison_of(scaling: Scaling) -> Comparison:
    """The runs side by side, a group a size."""
    sizes = dict.fromkeys((run.metrics.spec.nodes, run.metrics.spec.ranks) for run in scaling.runs)
    groups = []
    for nodes, ranks in sizes:
        members = [run for run in scaling.runs if (run.metrics.spec.nodes, run.metrics.spec.ranks) == (nodes, ranks)]
        alone = [n for n, _ in sizes].count(nodes) == 1
        groups.append(group_of(count(nodes, "node") if alone else f"{nodes}: {ranks}", "", members))
    return compared(groups)


def _speed_up(scaling: Scaling) -> Chart:
    points = scaling.points
    first, last, base = points[0], points[-1], points[0].samples_per_s.median or 1.0
    sizes = [*(p.ranks for p in points), *(p.ranks for p in (scaling.fit.predictions if scaling.fit else ()))]
    farthest = sizes[-1] / first.ranks
    x = Axis(first.ranks, sizes[-1], LEFT, WIDTH - _MARGIN, logarithmic=True)
    timed = [(p, p.time_speed_up) for p in points if p.time_speed_up]
    low = min([1.0, *(p.speed_up for p in points), *(speed_up for _, speed_up in timed)]) * 0.7
    y = Axis(low, farthest * 1.1, _HEIGHT - 44, 14, logarithmic=True)

    ideal = polyline([(x.at(ranks), y.at(ranks / first.ranks)) for ranks in (first.ranks, sizes[-1])])
    shapes = [Shape(ideal, "ideal", "ideal: as many times the throughput as ranks")]
    words = [(y.at(farthest), "ideal", "ideal")]
    if scaling.fit:
        shapes += _curve(scaling.fit, x, y, base, (first.ranks, last.ranks, sizes[-1]))
        words.append((y.at(scaling.fit.law.rate(sizes[-1]) / base), "prediction", "s0"))
    dots = list(_rate_dots(points, x, y, base))
    labels = [*_apart(WIDTH - _MARGIN + 8, words)]
    here = [(y.at(last.speed_up) + 13, f"{last.speed_up:.3g} x throughput", "s0")]
    if len(timed) > 1:
        places = [(x.at(p.ranks), y.at(speed_up)) for p, speed_up in timed]
        shapes.append(Shape(polyline(places), "line s1", "time to the target"))
        dots += [
            Dot(*place, "s1", f"{count(p.nodes, 'node')}: {speed_up:.3g} x as fast to the target")
            for place, (p, speed_up) in zip(places, timed, strict=True)
        ]
        here.append((places[-1][1] + 13, f"{timed[-1][1]:.3g} x to the target", "s1"))
    labels += _apart(x.at(last.ranks) + 11, here)
    return Chart(
        id="speed-up",
        title="Speed-up over the smallest size",
        about=_about(scaling),
        x_label=_ranks_label(scaling),
        y_label="times the smallest size",
        x_ticks=tuple(Tick(x.at(ranks), _size(scaling, ranks)) for ranks in dict.fromkeys(sizes)),
        y_ticks=tuple(Tick(y.at(2.0**k), label(2.0**k)) for k in range(-6, 20) if y.low <= 2.0**k <= y.high),
        height=_HEIGHT,
        right=_MARGIN,
        shapes=tuple(shapes),
        dots=tuple(dots),
        labels=tuple(labels),
    )


def _curve(fit: Fit, x: Axis, y: Axis, base: float, ends: tuple[int, int, int]) -> Iterator[Shape]:
    """The law through what was run, beyond it dashed, over the interval of its predictions."""
    first, last, farthest = ends
    at_last = fit.law.rate(last)
    spread = [(last, at_last, at_last)]
    spread += [(one.ranks, one.interval.low, one.interval.high) for one in fit.predictions if one.interval]
    if len(spread) > 1:
        xs = [x.at(ranks) for ranks, *_ in spread]
        lower, upper = ([y.at(rates[side] / base) for rates in spread] for side in (1, 2))
        yield Shape(band(xs, lower, upper), "spread", "interval of the prediction")
    for (start, end), css, said in (((first, last), "fitted", fit.name), ((last, farthest), "foreseen", "prediction")):
        places = [start * (end / start) ** (i / _SMOOTH) for i in range(_SMOOTH + 1)]
        yield Shape(polyline([(x.at(p), y.at(fit.law.rate(p) / base)) for p in places]), css, said)


def _rate_dots(points: tuple[Point, ...], x: Axis, y: Axis, base: float) -> Iterator[Dot]:
    for p in points:
        for rate in p.samples_per_s.values:
            yield Dot(x.at(p.ranks), y.at(rate / base), "s0", f"{count(p.nodes, 'node')}: {rate:,.0f} samples/s")


def _efficiency(scaling: Scaling) -> Chart:
    points = scaling.points
    x = Axis(points[0].ranks, points[-1].ranks, LEFT + 16, WIDTH - _MARGIN, logarithmic=True)
    kinds = (
        ("hardware", "s0", [p.hardware_efficiency for p in points]),
        ("statistical", "s2", [p.statistical_efficiency for p in points]),
        ("off the steps", "s3", [p.rest for p in points]),
    )
    known = {name: (css, [v for v in values if v is not None]) for name, css, values in kinds}
    drawn = {name: (css, values) for name, (css, values) in known.items() if len(values) == len(points)}
    y = Axis(0, 100 * max(1.0, *(max(values) for _, values in drawn.values())) * 1.06, _HEIGHT - 44, 14)
    shapes = [Shape(polyline([(LEFT, y.at(100)), (WIDTH - _MARGIN, y.at(100))]), "ideal", "ideal")]
    dots, words = [], []
    for name, (css, values) in drawn.items():
        places = [(x.at(p.ranks), y.at(100 * value)) for p, value in zip(points, values, strict=True)]
        shapes.append(Shape(polyline(places), f"line {css}", name))
        dots += [
            Dot(*place, css, f"{count(p.nodes, 'node')}: {name} {100 * value:.1f} %")
            for place, p, value in zip(places, points, values, strict=True)
        ]
        words.append((places[-1][1], f"{name} {100 * values[-1]:.0f} %", css))
    return Chart(
        id="efficiency",
        title="Efficiency, taken apart",
        about="Hardware: samples a second of a rank. Statistical: samples to the target. Off the steps: evaluations "
        "and pauses. Each against the smallest size; their product is what the time to the target kept of the ideal.",
        x_label=_ranks_label(scaling),
        y_label="% of the smallest size",
        x_ticks=tuple(Tick(x.at(p.ranks), _size(scaling, p.ranks)) for p in points),
        y_ticks=y.ticks(5),
        height=_HEIGHT,
        right=_MARGIN,
        shapes=tuple(shapes),
        dots=tuple(dots),
        labels=tuple(_apart(WIDTH - _MARGIN + 8, words)),
    )


def _about(scaling: Scaling) -> str:
    said = "; ".join(f"{count(p.nodes, 'node')} {p.speed_up:.3g} x the throughput" for p in scaling.points[1:])
    shaded = "; shaded: 95 % interval of the prediction" if scaling.fit and scaling.fit.predictions[0].interval else ""
    curve = f" Curve: {scaling.fit.name}{shaded}." if scaling.fit else ""
    return f"{said}. A dot a run, both axes logarithmic.{curve} Numbers: the tables below."


def _ranks_label(scaling: Scaling) -> str:
    each = scaling.points[0].ranks // scaling.points[0].nodes
    if nodes_of(scaling, each) == "-":
        return "ranks"
    return f"nodes ({count(each, 'rank')} on each)"


def _size(scaling: Scaling, ranks: int) -> str:
    nodes = nodes_of(scaling, ranks)
    return label(ranks) if nodes == "-" else nodes


def _apart(x: float, words: list[tuple[float, str, str]]) -> Iterator[Label]:
    """Words at the right of lines, moved apart where they would touch."""
    at = 0.0
    for y, text, css in sorted(words):
        at = max(y + 4, at + _LINE_APART)
        yield Label(x, round(at, 2), text, css)
