"""A scaling series: what a matrix of runs on more and more nodes says side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from .matrix import Matrix
from .metrics import Metrics, compute
from .run import RunFolder
from .table import Table, text_of_table
from .text import sanitise
from .verdict import GOAL_MISSED, GOAL_REACHED


@dataclass(frozen=True)
class Point:
    """One size of the series: means over its runs."""

    nodes: int
    ranks: int
    runs: int
    step_s: float
    """Mean length of a training step after warm-up, on the slowest rank."""
    step_spread_s: float | None
    """Standard deviation over the runs; None for one."""
    samples_per_s: float
    transfer_s: float | None
    """Of a step, mean over the ranks: the time in which the network worked, hidden under compute or not; None where
    the ranks' steps could not be compared, and for one rank."""
    wait_s: float | None
    """The same of the time in which a rank waited for a slower one."""
    efficiency: float
    """Throughput, over that of the smallest size times the ratio of the ranks."""


def points_of(matrix: Matrix, runs_dir: Path) -> tuple[Point, ...]:
    """The sizes that have a run which came to its own end, the smallest first; runs that were interrupted are left out.

    Raises:
        ResultsInvalid: a run's folder cannot be read.
    """
    by_size: dict[tuple[int, int], list[Metrics]] = {}
    for cell in matrix.cells:
        if cell.succeeded:
            metrics = compute(RunFolder(runs_dir / cell.run_id))
            if metrics.status in (GOAL_REACHED, GOAL_MISSED) and _step_s(metrics):
                by_size.setdefault((metrics.spec.ranks, metrics.spec.nodes), []).append(metrics)
    sizes = sorted(by_size)
    rates = {size: mean(m.throughput.samples_per_s or 0.0 for m in by_size[size]) for size in sizes}
    return tuple(_point(size, by_size[size], rates[size], rates[sizes[0]] / sizes[0][0]) for size in sizes)


def table_of(matrix: Matrix, points: Sequence[Point]) -> Table:
    """The series as a table."""
    headers = ("nodes", "ranks", "runs", "step ms", "samples/s", "efficiency %", "transfer ms", "wait ms")
    rows = tuple(
        (
            str(p.nodes),
            str(p.ranks),
            str(p.runs),
            f"{1e3 * p.step_s:.1f}" + (f" ± {1e3 * p.step_spread_s:.1f}" if p.step_spread_s is not None else ""),
            f"{p.samples_per_s:,.1f}",
            f"{100 * p.efficiency:.1f}",
            _milliseconds(p.transfer_s),
            _milliseconds(p.wait_s),
        )
        for p in points
    )
    mode, missing = matrix.request["mode"], matrix.left
    stays = "each rank's batch stays the same" if mode == "weak" else "the batch of all ranks together stays the same"
    notes = (
        f"{mode} scaling: {stays}. Efficiency: samples/s of a rank, over those of a rank of the smallest size.",
        "Of a step, mean over the ranks: transfer, the network at work; wait, for a slower rank.",
        *((f"{missing} of {len(matrix.cells)} runs have not come to their own end.",) if missing else ()),
    )
    return Table(sanitise(f"Scaling series {matrix.matrix_id}"), headers, rows, notes=notes)


def to_text(matrix: Matrix, points: Sequence[Point], width: int = 100) -> str:
    """The series for a terminal of `width` characters."""
    return "\n".join(text_of_table(table_of(matrix, points), width)) + "\n"


def to_json(matrix: Matrix, points: Sequence[Point]) -> dict[str, Any]:
    """Plain data."""
    return {**asdict(matrix), "points": [asdict(point) for point in points]}


def _point(size: tuple[int, int], runs: Sequence[Metrics], rate: float, rate_per_rank: float) -> Point:
    ranks, nodes = size
    steps = [_step_s(metrics) for metrics in runs]
    compared = [metrics.communication for metrics in runs if metrics.communication and metrics.communication.ranks]
    return Point(
        nodes=nodes,
        ranks=ranks,
        runs=len(runs),
        step_s=mean(steps),
        step_spread_s=stdev(steps) if len(steps) > 1 else None,
        samples_per_s=rate,
        transfer_s=_mean_s([[rank.transfer_ms for rank in c.ranks] for c in compared]),
        wait_s=_mean_s([[rank.wait_ms for rank in c.ranks] for c in compared]),
        efficiency=rate / (rate_per_rank * ranks) if rate_per_rank else 0.0,
    )


def _step_s(metrics: Metrics) -> float:
    measured = [record.measured for record in metrics.records if record.measured.steps]
    return max((total.step_ns / total.steps for total in measured), default=0.0) / 1e9


def _mean_s(times_ms: Sequence[Sequence[float]]) -> float | None:
    return mean(mean(ranks) for ranks in times_ms) / 1e3 if times_ms else None


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.1f}"
