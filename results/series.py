"""How a run went over time: split, throughput and loss in a few hundred buckets, whatever the run's length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from . import keys
from .columns import StepColumns
from .extent import Extent
from .fold import PART_OF_STAGE
from .line import Event, as_ns, as_number
from .log import LogTail
from .run import RunFolder

_CHUNK = 8192

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
class RankSeries:
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
        """The same as `add` for each."""
        self.flush()
        amounts = {name: int(steps[name].sum()) for name in ("samples", "tokens")}
        self.totals.update(steps=len(steps), **amounts)
        phases, rest = (
            [steps[name].astype(np.float64) for name in names]
            for names in ([f"{phase}_ns" for phase in keys.PHASES], ("samples", "tokens"))
        )
        self._fill(
            (steps["start_ns"] + self.shift_ns).astype(np.float64),
            steps["step_ns"].astype(np.float64),
            [*phases, np.zeros(len(steps)), *rest],
            steps.loss,
        )

    def flush(self) -> None:
        """Put the steps that wait into their buckets."""
        if self.waiting:
            start, length, *columns, loss = np.array(self.waiting).T
            self.waiting.clear()
            self._fill(start, length, columns, loss)

    def interval(self, part: str, start_ns: int, length_ns: int) -> None:
        """A span of time that belongs to one part."""
        span = np.array([float(length_ns)])
        self._spread({part: self.parts_ns}, np.array([float(start_ns + self.shift_ns)]), span, [span])

    def _fill(self, start: Vector, length: Vector, columns: Sequence[Vector], loss: Vector) -> None:
        """Take in steps; the columns are those of `_STEP_PARTS`, the samples and the tokens."""
        into = dict.fromkeys(_STEP_PARTS, self.parts_ns) | dict.fromkeys(AMOUNTS, self.amounts)
        parts, rest = columns[: len(_STEP_PARTS)], columns[len(_STEP_PARTS) :]
        self._spread(into, start, length, [*parts, np.ones(len(start)), *rest])
        known = ~np.isnan(loss)
        at = self._bucket(start[known])
        self.loss_sum += np.bincount(at, weights=loss[known], minlength=self.buckets)
        self.loss_count += np.bincount(at, minlength=self.buckets)

    def _spread(
        self, into: Mapping[str, dict[str, Vector]], start: Vector, length: Vector, columns: Sequence[Vector]
    ) -> None:
        """Add each column, under its name, evenly over [start, start + length) of each row."""
        first, last = self._bucket(start), self._bucket(start + np.maximum(length - 1, 0))
        inside = np.flatnonzero(first == last)
        at = first[inside]
        # Of the rows that lie in more than one bucket, the share of each bucket: (row, bucket, share).
        shares = [
            (row, bucket, share)
            for row in np.flatnonzero(first != last)
            for bucket, share in self._shares(int(first[row]), int(last[row]), start[row], length[row])
        ]
        for (name, totals), values in zip(into.items(), columns, strict=True):
            if not values.any():
                continue
            total = totals.setdefault(name, np.zeros(self.buckets))
            total += np.bincount(at, weights=values[inside], minlength=self.buckets)
            for row, bucket, share in shares:
                total[bucket] += values[row] * share

    def _shares(self, first: int, last: int, start: float, length: float) -> list[tuple[int, float]]:
        edges = self.width_ns * np.arange(first, last + 2, dtype=np.float64)
        edges[0], edges[-1] = start, start + length
        return list(zip(range(first, last + 1), (np.diff(edges) / length).tolist(), strict=True))

    def _bucket(self, times: Vector) -> npt.NDArray[np.int64]:
        return np.clip(times // self.width_ns, 0, self.buckets - 1).astype(np.int64)


def buckets_of(extent: Extent | None, rank: int) -> RankSeries | None:
    """Empty ones for a rank; None where it has no place in the extent."""
    if extent is None or rank not in extent.shift_ns:
        return None
    return RankSeries(extent.width_ns, extent.shift_ns[rank], extent.buckets)


def read_series(folder: RunFolder, rank: int, extent: Extent) -> RankSeries:
    """The buckets of a rank that has a place in the extent, from its log alone.

    Raises:
        ResultsInvalid: the log cannot be read.
    """
    series = buckets_of(extent, rank)
    assert series, rank
    for _ in LogTail(folder.rank_events(rank)).pieces(series.add, series.add_steps):
        pass
    return series


def series_of(ranks: Sequence[RankSeries]) -> Series:
    """The ranks' buckets, which are of one extent, put together; there is at least one rank."""
    for rank in ranks:
        rank.flush()
    first = ranks[0]
    loss = np.divide(first.loss_sum, first.loss_count, where=first.loss_count > 0, out=np.full(first.buckets, np.nan))
    return Series(
        width_s=first.width_ns / 1e9,
        parts_s={part: sum_ns / 1e9 / len(ranks) for part, sum_ns in _sums([r.parts_ns for r in ranks]).items()},
        amounts=_sums([r.amounts for r in ranks]),
        loss=loss,
        progress=_together([r.progress for r in ranks]),
    )


def _step(series: RankSeries, event: Event) -> None:
    fields = event.fields
    numbers = [as_ns(fields.get(name)) for name in _STEP_FIELDS]
    if None in numbers[:_MUST]:
        return
    start, length, *rest = (number or 0 for number in numbers)
    loss = as_number(fields.get("loss"))
    phases, amounts = rest[: len(keys.PHASES)], rest[len(keys.PHASES) :]
    _wait(series, start, length, [*phases, 0], amounts, np.nan if loss is None else loss)


def _bare_step(series: RankSeries, event: Event) -> None:
    """A step of which the log has the length and no phases: all of it is one part, as in the split."""
    start, length, samples, tokens = (as_ns(event.fields.get(name)) for name in _BARE_FIELDS)
    if start is not None and length is not None:
        _wait(series, start, length, [*[0] * len(keys.PHASES), length], [samples or 0, tokens or 0], np.nan)


def _wait(
    series: RankSeries, start: int, length: int, parts_ns: Sequence[int], amounts: Sequence[int], loss: float
) -> None:
    """Count a step, and keep it until there are enough of them to be put into buckets."""
    samples, tokens = amounts
    series.totals.update(steps=1, samples=samples, tokens=tokens)
    series.waiting.append((start + series.shift_ns, length, *parts_ns, samples, tokens, loss))
    if len(series.waiting) >= _CHUNK:
        series.flush()


def _stage(series: RankSeries, event: Event) -> None:
    name = event.fields.get("name")
    if isinstance(name, str):
        _interval(series, event, PART_OF_STAGE.get(name, "startup"))


def _eval_stop(series: RankSeries, event: Event) -> None:
    _interval(series, event, "evaluation")


def _interval(series: RankSeries, event: Event, part: str) -> None:
    start, length = as_ns(event.fields.get("start_ns")), as_ns(event.fields.get("duration_ns"))
    if start is not None and length:
        series.interval(part, start, length)


def _eval_accuracy(series: RankSeries, event: Event) -> None:
    epoch, split = as_ns(event.fields.get("epoch_num")), event.fields.get("split", "validation")
    totals = series.totals
    series.progress.append(Progress(epoch, str(split), totals["steps"], totals["samples"], totals["tokens"]))


_STEP_PARTS = (*keys.PHASES, "bare_steps")
"""Parts of the time that steps fill: of a measured one its phases, of one that is not the last."""
_STEP_FIELDS = ("start_ns", "step_ns", *(f"{phase}_ns" for phase in keys.PHASES), "samples", "tokens")
_MUST = 2 + len(keys.PHASES)
_BARE_FIELDS = ("start_ns", "step_ns", "samples", "tokens")

_TAKE: dict[str, Callable[[RankSeries, Event], None]] = {
    keys.STEP: _step,
    keys.BARE_STEP: _bare_step,
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
