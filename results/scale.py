"""A scaling series: what a matrix of runs on more and more nodes says side by side.

The speed-up of the time to the target is taken apart into what the hardware did and what the training needed:

    T = D / X + R       D samples trained on to the target, X samples a second, R the time off training steps
    T1 / Tp = (p / p1) x (Xp / X1) / (p / p1) x D1 / Dp x rest
              ideal      hardware efficiency   statistical efficiency   what is left: evaluations, pauses
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from .compare import entry_of
from .comparison import Entry
from .matrix import Matrix
from .run import RunFolder
from .scale_fit import Fit, fit_of
from .statistics import MINIMUM_RUNS, Interval, Sample, ratio_interval, sample_of


@dataclass(frozen=True)
class Point:
    """One size of the series: medians over its runs, ratios against the smallest size."""

    nodes: int
    ranks: int
    runs: int
    step_s: float
    """Mean length of a training step after warm-up, on the slowest rank; median over the runs."""
    step_spread_s: float | None
    """Standard deviation over the runs; None for one."""
    samples_per_s: Sample
    """Of all ranks, within training steps."""
    samples_per_step: float
    transfer_s: float | None
    """Of a step, mean over the ranks: the time in which the network worked, hidden under compute or not; None where
    the ranks' steps could not be compared, and for one rank."""
    wait_s: float | None
    """The same of the time in which a rank waited for a slower one."""
    bus_bytes_per_s: float | None
    """`busbw` of nccl-tests: bytes a rank had to send, over the time in which the network worked."""
    time_to_target_s: Sample
    """Interpolated between evaluations; empty unless every run reached the target."""
    at_most: bool
    """Whether some run met the target at its first evaluation: when before it is not known, so that the time and the
    samples to the target are upper bounds, and nothing is derived from them."""
    raw_time_to_target_s: Sample
    """At the evaluation that met it."""
    samples_to_target: Sample
    """Interpolated as the time is."""
    steps_to_target: Sample
    """At the evaluation that met it."""
    speed_up: float
    """Throughput over that of the smallest size."""
    hardware_efficiency: float
    """The same, over the ratio of the ranks."""
    hardware_interval: Interval | None
    """Of it; None, as of the others, for the smallest size and where it or this one has too few runs."""
    statistical_efficiency: float | None
    """Samples to the target at the smallest size, over those at this one."""
    statistical_interval: Interval | None
    rest: float | None
    """What remains of the time's speed-up: below 1 where more of the time lies off the training steps."""
    time_speed_up: float | None
    """Time to the target at the smallest size, over that at this one."""
    time_speed_up_interval: Interval | None
    price_index: float | None
    """(nodes x time, over those of the smallest size) / time_speed_up: how much dearer over how much faster, with one
    price for every node; below 1 the nodes are worth it."""


@dataclass(frozen=True)
class Scaling:
    """A series: the sizes that have runs, and the curve through them."""

    matrix: Matrix
    points: tuple[Point, ...]
    runs: tuple[Entry, ...]
    left_out: tuple[Entry, ...]
    """Runs that came to their own end and stand for no size; see `Entry.left_out`."""
    fit: Fit | None
    """None below two sizes."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **asdict(self.matrix),
            "points": [asdict(point) for point in self.points],
            "left_out": {run.metrics.spec.run_id: run.left_out for run in self.left_out},
            "fit": self.fit and self.fit.to_json(),
        }


def scaling_of(matrix: Matrix, runs_dir: Path) -> Scaling:
    """The sizes that have a run which counts, the smallest first; runs that were interrupted are left out.

    Raises:
        ResultsInvalid: a run's folder cannot be read.
    """
    by_size: dict[tuple[int, int], list[Entry]] = {}
    left_out: list[Entry] = []
    for cell in matrix.cells:
        if cell.succeeded:
            entry = entry_of(RunFolder(runs_dir / cell.run_id))
            metrics = entry.metrics
            if entry.left_out and not entry.broke_off:
                left_out.append(entry)
            elif entry.counts and _step_s(entry) and metrics.throughput.samples_per_s:
                by_size.setdefault((metrics.spec.ranks, metrics.spec.nodes), []).append(entry)
    points: list[Point] = []
    for size in sorted(by_size):
        points.append(_point(size, by_size[size], points[0] if points else None))
    fit = fit_of([(point.ranks, point.samples_per_s.values) for point in points])
    runs = tuple(run for size in sorted(by_size) for run in by_size[size])
    return Scaling(matrix, tuple(points), runs, tuple(left_out), fit)


def _point(size: tuple[int, int], runs: Sequence[Entry], first: Point | None) -> Point:
    ranks, nodes = size
    steps = [_step_s(run) for run in runs]
    compared = [c for run in runs if (c := run.metrics.communication) and c.ranks]
    rates = sample_of([run.metrics.throughput.samples_per_s or 0.0 for run in runs])
    always = all(run.time_to_target_s is not None for run in runs)
    times, samples = (_sample([_crossing(run, axis) for run in runs], always) for axis in ("time", "samples"))
    at_most = always and any(run.crossing_s is None for run in runs)
    rate = rates.median or 0.0
    # A ratio of two upper bounds bounds nothing.
    mine = (None, None) if at_most else (times.median, samples.median)
    base = first or _Base(ranks, nodes, rate, *mine)
    grown, speed_up = ranks / base.ranks, rate / _rate(base)
    hardware = speed_up / grown
    time_speed_up, statistical = (
        _ratio(_median(base, axis), value) for axis, value in zip(("time", "samples"), mine, strict=True)
    )
    known = time_speed_up is not None and statistical is not None
    return Point(
        nodes=nodes,
        ranks=ranks,
        runs=len(runs),
        step_s=median(steps),
        step_spread_s=stdev(steps) if len(steps) > 1 else None,
        samples_per_s=rates,
        samples_per_step=fmean(run.metrics.samples / run.metrics.steps for run in runs),
        transfer_s=_mean_s([[rank.transfer_ms for rank in c.ranks] for c in compared]),
        wait_s=_mean_s([[rank.wait_ms for rank in c.ranks] for c in compared]),
        bus_bytes_per_s=_median_of([c.bus_bytes_per_s for c in compared]),
        time_to_target_s=times,
        at_most=at_most,
        raw_time_to_target_s=_sample([run.time_to_target_s for run in runs], always),
        samples_to_target=samples,
        steps_to_target=_sample([run.at_target("steps") for run in runs], always),
        speed_up=speed_up,
        hardware_efficiency=hardware,
        hardware_interval=_between(first.samples_per_s if first else None, rates, grown),
        statistical_efficiency=statistical,
        statistical_interval=_between(samples, first.samples_to_target if first else None) if statistical else None,
        rest=(time_speed_up or 0.0) / (speed_up * (statistical or 1.0)) if known else None,
        time_speed_up=time_speed_up,
        time_speed_up_interval=_between(times, first.time_to_target_s if first else None) if time_speed_up else None,
        price_index=nodes / base.nodes / time_speed_up**2 if time_speed_up else None,
    )


@dataclass(frozen=True)
class _Base:
    """What the smallest size is held against: itself."""

    ranks: int
    nodes: int
    rate: float
    time_s: float | None
    samples: float | None


def _rate(base: Point | _Base) -> float:
    return base.rate if isinstance(base, _Base) else base.samples_per_s.median or 0.0


def _median(base: Point | _Base, axis: str) -> float | None:
    if isinstance(base, _Base):
        return base.time_s if axis == "time" else base.samples
    if base.at_most:
        return None
    return (base.time_to_target_s if axis == "time" else base.samples_to_target).median


def _crossing(run: Entry, axis: str) -> float | None:
    """Where the target was met, interpolated; at the evaluation that met it where there is none before."""
    crossing = run.crossing(axis)
    if crossing is not None:
        return crossing
    return run.time_to_target_s if axis == "time" else run.at_target(axis)


def _sample(values: Sequence[float | None], always: bool) -> Sample:
    """Nothing where some run missed the target: only the lucky ones would be compared."""
    return sample_of([value for value in values if value is not None] if always else [])


def _between(under: Sample | None, over: Sample | None, grown: float = 1.0) -> Interval | None:
    """The interval of a ratio of two sizes' runs, over that of their ranks."""
    if under is None or over is None or min(len(under.values), len(over.values)) < MINIMUM_RUNS:
        return None
    found = ratio_interval(under.values, over.values)
    return Interval(found.low / grown, found.high / grown, found.coverage)


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over and under else None


def _step_s(run: Entry) -> float:
    measured = [record.measured for record in run.metrics.records if record.measured.steps]
    return max((total.step_ns / total.steps for total in measured), default=0.0) / 1e9


def _mean_s(times_ms: Sequence[Sequence[float]]) -> float | None:
    return fmean(fmean(ranks) for ranks in times_ms) / 1e3 if times_ms else None


def _median_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value]
    return median(known) if known else None
