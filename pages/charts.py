"""The charts of one run: quality against the clock, where the time went, how fast it trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from ..results.communication import Communication
from ..results.metrics import Metrics
from ..results.quality import TEST_SPLIT
from ..results.series import Series
from ..results.split import PARTS, RankSplit, Split
from ..results.table import Table
from ..results.text import sanitise
from .critical_chart import critical_ranks
from .plot import Axis, Chart, Dot, Rule, Shape, Tick, bar, label, polyline, stairs, words, x_axis, y_axis

RANKS_DRAWN: Final = 64
_BAR, _GAP = 12.0, 4.0
_ROWS = 40


def charts_of(metrics: Metrics) -> list[Chart]:
    """Every chart that the run has data for."""
    charts = [quality(metrics)]
    if series := metrics.series:
        charts += [split_over_time(series, metrics.split), throughput(metrics, series), loss(series)]
    charts[2:2] = [split_by_rank(metrics.split, metrics.communication), critical_ranks(metrics.communication)]
    return [chart for chart in charts if chart]


def quality(metrics: Metrics) -> Chart | None:
    """Each evaluation at its moment on the clock, and the target."""
    spec = metrics.spec
    points = [
        (e.since_run_start_s, e.value, e.epoch)
        for e in metrics.quality.evaluations
        if e.split != TEST_SPLIT and e.since_run_start_s is not None and math.isfinite(e.value)
    ]
    if not points:
        return None
    name = sanitise(spec.metric)
    x = x_axis(0, max(at for at, _, _ in points))
    y = y_axis([*(value for _, value, _ in points), spec.target], from_zero=False)
    places = [(x.at(at), y.at(value)) for at, value, _ in points]
    sign = "at most" if spec.target_is_upper_bound else "at least"
    met = metrics.quality.reached
    ending = (
        f"The target was met after {met.since_run_start_s:.1f} s."
        if met and met.since_run_start_s
        else "It was not met."
    )
    return Chart(
        id="quality",
        title=f"{name[:1].upper()}{name[1:]} against the clock",
        about=f"{len(points)} evaluations; the target is {sign} {spec.target:g}. {ending}",
        x_label="seconds from run_start, everything on the clock",
        y_label=name,
        x_ticks=x.ticks(),
        y_ticks=y.ticks(),
        shapes=(Shape(polyline(places), "line s0"),),
        dots=tuple(
            Dot(*place, "s0", f"epoch {epoch or '-'}: {value:.5g} at {at:.1f} s")
            for place, (at, value, epoch) in zip(places, points, strict=True)
        ),
        rules=(Rule(y.at(spec.target), f"target {spec.target:g}"),),
    )


def split_over_time(series: Series, split: Split) -> Chart | None:
    """What the mean rank did, moment by moment, in percent of the time."""
    parts = [part for part in PARTS if part in series.parts_s] + sorted(set(series.parts_s) - set(PARTS))
    if not parts:
        return None
    shares = {"launch": _launching(series, split)} if split.ranks else {}
    shares |= {part: 100 * series.parts_s[part] / series.width_s for part in parts}
    parts = list(shares)
    x, y = x_axis(0, series.buckets * series.width_s), Axis(0, 100, 256, 14)
    edges = [x.at(i * series.width_s) for i in range(series.buckets + 1)]
    below = np.zeros(series.buckets)
    shapes = []
    for part in parts:
        above = below + shares[part]
        lower, upper = ([y.at(value) for value in values] for values in (below, above))
        shapes.append(Shape(stairs(edges, lower, upper), f"area part-{part}", words(part)))
        below = above
    return Chart(
        id="split-over-time",
        title="Where the time went, over time",
        about="Shares of the mean rank's time, stacked; what stays empty is ending and unaccounted time.",
        x_label="seconds from the launch",
        y_label="% of the time",
        x_ticks=x.ticks(),
        y_ticks=y.ticks(5),
        shapes=tuple(shapes),
        legend=tuple((f"part-{part}", words(part)) for part in parts),
        table=_over_time(series, shares, parts),
    )


def _launching(series: Series, split: Split) -> np.ndarray:
    """Percent of each bucket that lies before the mean rank's log begins: the logs cannot tell of it."""
    starts = series.width_s * np.arange(series.buckets)
    inside = [np.clip((rank.seconds("launch") - starts) / series.width_s, 0.0, 1.0) for rank in split.ranks]
    return np.asarray(100 * np.mean(inside, axis=0))


def split_by_rank(split: Split, communication: Communication | None = None) -> Chart | None:
    """A bar a rank, all of them as long as the wall time."""
    if not split.wall_s or split.wall_s <= 0 or not split.ranks:
        return None
    ranks = _drawn(split.ranks)
    x = x_axis(0, split.wall_s)
    shapes, rows = [], []
    for row, rank in enumerate(ranks):
        at, top = 0.0, 14 + row * (_BAR + _GAP)
        rows.append(Tick(top + _BAR / 2, f"rank {rank.rank}"))
        for part, share in _pieces(rank, communication):
            seconds = max(0.0, share)
            left, right = x.at(at), x.at(at + seconds)
            if right - left >= 0.05:
                said = f"rank {rank.rank}: {words(part)} {seconds:,.2f} s, {100 * seconds / split.wall_s:.1f} %"
                shapes.append(Shape(bar(left, top, right - left, _BAR), f"area part-{part}", said))
            at += seconds
    left_out = "" if len(ranks) == len(split.ranks) else f" {len(ranks)} of {len(split.ranks)} ranks are drawn."
    return Chart(
        id="split-by-rank",
        title="Where the time went, rank by rank",
        about=f"One bar a rank, from launch to end: {split.wall_s:,.1f} s. Numbers: the split's table.{left_out}",
        x_label="seconds",
        y_label="",
        x_ticks=x.ticks(),
        y_ticks=tuple(rows),
        height=14 + len(ranks) * (_BAR + _GAP) + 44,
        shapes=tuple(shapes),
        legend=tuple((f"part-{part}", words(part)) for part in _drawn_parts(ranks, communication)),
        grid=False,
    )


def throughput(metrics: Metrics, series: Series) -> Chart | None:
    """Tokens (or samples) a second of all ranks, evaluations and pauses included."""
    # Images and rows have no tokens of their own: both count the same.
    unit = "samples" if metrics.tokens in (0, metrics.samples) else "tokens"
    if unit not in series.amounts:
        return None
    rates = series.amounts[unit] / series.width_s
    x, y = x_axis(0, series.buckets * series.width_s), y_axis(rates)
    places = [(x.at((i + 0.5) * series.width_s), y.at(rate)) for i, rate in enumerate(rates)]
    mean = metrics.throughput.tokens_per_s if unit == "tokens" else metrics.throughput.samples_per_s
    return Chart(
        id="throughput",
        title="Throughput over time",
        about=f"{unit.capitalize()} a second of all ranks, in windows of {series.width_s:.3g} s, pauses included.",
        x_label="seconds from the launch",
        y_label=f"{unit}/s",
        x_ticks=x.ticks(),
        y_ticks=y.ticks(5),
        shapes=(Shape(polyline(places), "line s0"),),
        rules=(Rule(y.at(mean), f"within steps: {mean:,.0f} {unit}/s"),) if mean else (),
    )


def loss(series: Series) -> Chart | None:
    """The training loss as rank 0 logged it."""
    known = [(i, value) for i, value in enumerate(series.loss) if math.isfinite(value)]
    if len(known) < 2:
        return None
    x = x_axis(0, series.buckets * series.width_s)
    y = y_axis((value for _, value in known), from_zero=False)
    places = [(x.at((i + 0.5) * series.width_s), y.at(value)) for i, value in known]
    return Chart(
        id="loss",
        title="Training loss",
        about=f"First rank, windows of {series.width_s:.3g} s: from {known[0][1]:.4g} to {known[-1][1]:.4g}.",
        x_label="seconds from the launch",
        y_label="loss",
        x_ticks=x.ticks(),
        y_ticks=y.ticks(5),
        shapes=(Shape(polyline(places), "line s0"),),
    )


def _over_time(series: Series, shares: dict[str, np.ndarray], parts: Sequence[str]) -> Table:
    """The chart's numbers in at most `_ROWS` rows."""
    group = -(-series.buckets // _ROWS)
    rows = []
    for start in range(0, series.buckets, group):
        cells = [f"{np.mean(shares[part][start : start + group]):.1f}" for part in parts]
        rows.append((label(round(start * series.width_s, 3)), *cells))
    return Table(
        "Where the time went, over time: % of the mean rank's time", ("from s", *map(words, parts)), tuple(rows)
    )


def _drawn(ranks: Sequence[RankSplit]) -> Sequence[RankSplit]:
    if len(ranks) <= RANKS_DRAWN:
        return ranks
    return [ranks[i * (len(ranks) - 1) // (RANKS_DRAWN - 1)] for i in range(RANKS_DRAWN)]


def _pieces(rank: RankSplit, communication: Communication | None) -> Iterator[tuple[str, float]]:
    """The parts of a rank's time in seconds; communication as transfer and waiting where they are told apart."""
    exposed = next((r.exposed_ns for r in communication.ranks if r.rank == rank.rank), None) if communication else None
    for part in PARTS:
        seconds = rank.seconds(part)
        if part == "communication" and exposed:
            transfer, wait = exposed["exposed_transfer"] / 1e9, exposed["exposed_wait"] / 1e9
            # Both may also lie inside backward, where collectives overlap it: no more than the phase is drawn here.
            scale = min(1.0, seconds / (transfer + wait)) if transfer + wait > 0 else 0.0
            yield "transfer", scale * transfer
            yield "wait", scale * wait
            seconds -= scale * (transfer + wait)
        yield part, seconds


def _drawn_parts(ranks: Sequence[RankSplit], communication: Communication | None) -> Iterator[str]:
    """The parts that some bar shows, in their order."""
    seen = {p for rank in ranks for p, s in _pieces(rank, communication) if s > 0.0005 * rank.wall_ns / 1e9}
    order = [part for part, _ in _pieces(ranks[0], communication)]
    yield from (part for part in dict.fromkeys([*order, *seen]) if part in seen)
