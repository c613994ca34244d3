"""How a run went over time: split, throughput and loss in a few hundred buckets, whatever the run's length."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from . import keys
from .columns import StepColumns
from .fold import PART_OF_STAGE
from .line import Event, as_ns, as_number
from .log import LogTail, visit_log
from .metrics import Metrics
from .run import RunFolder

BUCKETS: Final = 240
"""More than a chart of 720 points can show, few enough for a page of any run to stay small."""
_CHUNK = 8192
_POOL_FROM_BYTES = 32 << 20
"""Below this much log, starting processes costs more than it saves."""

Vector = npt.NDArray[np.float64]

AMOUNTS: Final = ("steps", "samples", "tokens")


@dataclass(frozen=True)
class Progress:
    """What had been trained on when an evaluation was made; sums over the ranks, but for `steps`."""

    epoch: int | None
    split: str
    steps: int
    samples: int
    tokens: int


@dataclass(frozen=True)
class Series:
    """A run over time; every vector has one entry a bucket, the first bucket begins at the launch."""

    width_s: float
    """Of a bucket."""
    parts_s: dict[str, Vector]
    """Seconds of each part in each bucket, mean over the ranks; parts that never came up are left out."""
    amounts: dict[str, Vector]
    """Of `AMOUNTS`, of all ranks together, spread evenly over the step they belong to."""
    loss: Vector
    """Mean over the steps that began in the bucket, rank 0; NaN where none did."""
    progress: tuple[Progress, ...]
    """One entry an evaluation, in the order of the lowest rank's log."""

    @property
    def buckets(self) -> int:
        return len(self.loss)


@dataclass
class _RankSeries:
    """One rank's buckets; times of its log are moved so that 0 is the launch."""

    width_ns: int
    shift_ns: int
    buckets: int
    parts_ns: dict[str, Vector] = field(default_factory=dict)
    amounts: dict[str, Vector] = field(default_factory=dict)
    loss_sum: Vector = field(default_factory=lambda: np.zeros(0))
    loss_count: Vector = field(default_factory=lambda: np.zeros(0))
    totals: Counter[str] = field(default_factory=Counter)
    progress: list[Progress] = field(default_factory=list)
    waiting: list[tuple[float, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loss_sum, self.loss_count = np.zeros(self.buckets), np.zeros(self.buckets)

    def add(self, event: Event) -> None:
        take = _TAKE.get(event.key)
        if take is not None:
            take(self, event)

    def add_steps(self, steps: StepColumns) -> None:
        """Many steps at once; their losses are not among the columns."""
        self.flush()
        counts = np.ones(len(steps))
        self._fill(
            (steps["start_ns"] + self.shift_ns).astype(np.float64),
            steps["step_ns"].astype(np.float64),
            [steps[f"{phase}_ns"].astype(np.float64) for phase in keys.PHASES],
            [counts, steps["samples"].astype(np.float64), steps["tokens"].astype(np.float64)],
        )
        amounts = {name: int(steps[name].sum()) for name in ("samples", "tokens")}
        self.totals.update(steps=len(steps), **amounts)

    def flush(self) -> None:
        """Put the steps that wait into their buckets."""
        if not self.waiting:
            return
        rows = np.array(self.waiting)
        self.waiting.clear()
        phases_end = 2 + len(keys.PHASES)
        self._fill(rows[:, 0], rows[:, 1], list(rows[:, 2:phases_end].T), list(rows[:, phases_end:-1].T))
        loss = rows[:, -1]
        at = self._bucket(rows[:, 0])[~np.isnan(loss)]
        self.loss_sum += np.bincount(at, weights=loss[~np.isnan(loss)], minlength=self.buckets)
        self.loss_count += np.bincount(at, minlength=self.buckets)

    def interval(self, part: str, start_ns: int, length_ns: int) -> None:
        """A span of time that belongs to one part."""
        ends = np.array([start_ns + self.shift_ns]), np.array([length_ns])
        self._spread(self.parts_ns, part, *ends, np.array([length_ns]))

    def _fill(self, start: Vector, length: Vector, phases: Sequence[Vector], amounts: Sequence[Vector]) -> None:
        for name, values in zip(keys.PHASES, phases, strict=True):
            self._spread(self.parts_ns, name, start, length, values)
        for name, values in zip(AMOUNTS, amounts, strict=True):
            self._spread(self.amounts, name, start, length, values)

    def _spread(self, into: dict[str, Vector], name: str, start: Vector, length: Vector, value: Vector) -> None:
        """Add `value` evenly over [start, start + length) of each row."""
        if not value.any():
            return
        total = into.setdefault(name, np.zeros(self.buckets))
        first, last = self._bucket(start), self._bucket(start + np.maximum(length - 1, 0))
        inside = first == last
        total += np.bincount(first[inside], weights=value[inside], minlength=self.buckets)
        for row in np.flatnonzero(~inside):
            edges = self.width_ns * np.arange(first[row], last[row] + 2, dtype=np.float64)
            edges[0], edges[-1] = start[row], start[row] + length[row]
            total[first[row] : last[row] + 1] += value[row] * np.diff(edges) / length[row]

    def _bucket(self, times: Vector) -> npt.NDArray[np.int64]:
        return np.clip(times // self.width_ns, 0, self.buckets - 1).astype(np.int64)


def series_of(folder: RunFolder, metrics: Metrics, buckets: int = BUCKETS) -> Series | None:
    """The run over time; None while there is nothing to show.

    Reads the logs once more, in as many processes as there are cores where they are large.

    Raises:
        ResultsInvalid: a log cannot be read.
    """
    wall_s = metrics.split.wall_s
    placed = [record for record in metrics.records if record.unix_ns(0) is not None]
    if not wall_s or wall_s <= 0 or not placed:
        return None
    launched = metrics.launched_unix_ns
    width_ns = max(1, -(-round(wall_s * 1e9) // buckets))
    # A log's zero on the launch's clock: `unix_ns(t) - launched` is `t + shift`.
    jobs = [_Job(folder.rank_events(r.rank), (r.unix_ns(0) or 0) - launched, first=r is placed[0]) for r in placed]
    read = partial(_read, width_ns=width_ns, buckets=buckets)
    ranks = _map(read, jobs)
    loss = np.divide(
        ranks[0].loss_sum, ranks[0].loss_count, where=ranks[0].loss_count > 0, out=np.full(buckets, np.nan)
    )
    return Series(
        width_s=width_ns / 1e9,
        parts_s={part: sum_ns / 1e9 / len(ranks) for part, sum_ns in _sums([r.parts_ns for r in ranks]).items()},
        amounts=_sums([r.amounts for r in ranks]),
        loss=loss,
        progress=_together([r.progress for r in ranks]),
    )


@dataclass(frozen=True)
class _Job:
    path: Path
    shift_ns: int
    first: bool
    """Whether this rank's losses are wanted, which only single lines have."""


def _read(job: _Job, *, width_ns: int, buckets: int) -> _RankSeries:
    series = _RankSeries(width_ns, job.shift_ns, buckets)
    if job.first:
        visit_log(job.path, series.add)
    else:
        for _ in LogTail(job.path).pieces(series.add, series.add_steps):
            pass
    series.flush()
    return series


def _map(read: Callable[[_Job], _RankSeries], jobs: Sequence[_Job]) -> list[_RankSeries]:
    processes = min(len(os.sched_getaffinity(0)), len(jobs))
    if processes < 2 or sum(job.path.stat().st_size for job in jobs) < _POOL_FROM_BYTES:
        return [read(job) for job in jobs]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(read, jobs))


def _step(series: _RankSeries, event: Event) -> None:
    fields = event.fields
    numbers = [as_ns(fields.get(name)) for name in _STEP_FIELDS]
    if None in numbers[:_MUST]:
        return
    start, length, *rest = (number or 0 for number in numbers)
    loss = as_number(fields.get("loss"))
    phases, samples, tokens = rest[: len(keys.PHASES)], rest[-2], rest[-1]
    series.totals.update(steps=1, samples=samples, tokens=tokens)
    row = (start + series.shift_ns, length, *phases, 1, samples, tokens, np.nan if loss is None else loss)
    series.waiting.append(row)
    if len(series.waiting) >= _CHUNK:
        series.flush()


def _stage(series: _RankSeries, event: Event) -> None:
    name = event.fields.get("name")
    if isinstance(name, str):
        _interval(series, event, PART_OF_STAGE.get(name, "startup"))


def _eval_stop(series: _RankSeries, event: Event) -> None:
    _interval(series, event, "evaluation")


def _interval(series: _RankSeries, event: Event, part: str) -> None:
    start, length = as_ns(event.fields.get("start_ns")), as_ns(event.fields.get("duration_ns"))
    if start is not None and length:
        series.interval(part, start, length)


def _eval_accuracy(series: _RankSeries, event: Event) -> None:
    epoch, split = as_ns(event.fields.get("epoch_num")), event.fields.get("split", "validation")
    totals = series.totals
    series.progress.append(Progress(epoch, str(split), totals["steps"], totals["samples"], totals["tokens"]))


_STEP_FIELDS = ("start_ns", "step_ns", *(f"{phase}_ns" for phase in keys.PHASES), "samples", "tokens")
_MUST = 2 + len(keys.PHASES)

_TAKE: dict[str, Callable[[_RankSeries, Event], None]] = {
    keys.STEP: _step,
    keys.STAGE: _stage,
    keys.EVAL_STOP: _eval_stop,
    keys.EVAL_ACCURACY: _eval_accuracy,
}


def _sums(vectors: Sequence[dict[str, Vector]]) -> dict[str, Vector]:
    names = dict.fromkeys(name for named in vectors for name in named)
    return {name: np.sum([named[name] for named in vectors if name in named], axis=0) for name in names}


def _together(ranks: Sequence[Sequence[Progress]]) -> tuple[Progress, ...]:
    """The ranks' counts at the same evaluation, added up; an evaluation that a rank lacks counts without it."""
    return tuple(
        Progress(
            at[0].epoch,
            at[0].split,
            max(one.steps for one in at),
            sum(one.samples for one in at),
            sum(one.tokens for one in at),
        )
        for at in ([rank[i] for rank in ranks if i < len(rank)] for i in range(len(ranks[0])))
    )
