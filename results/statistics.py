"""Statistics of repeated runs: few values, skewed, dear to get; what can be said of them and what cannot.

Numbers of runs are small (three to twenty), so the median stands for a group, its interval is a bootstrap's,
and a difference counts only where an exact permutation test agrees with that interval.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

CONFIDENCE: Final = 0.95
POWER: Final = 0.8
"""Chance of seeing a difference that is there, at which `runs_needed` aims."""
MINIMUM_RUNS: Final = 3
"""Fewer values than this have no interval."""
RESAMPLES: Final = 10_000
_EXACT_UP_TO = 50_000
_BLOCK = 2_000

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Both ends of a confidence interval, in the unit of the values."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Sample:
    """What a group of values says; None where there are too few."""

    values: tuple[float, ...]
    median: float | None
    olympic_mean: float | None
    interval: Interval | None
    """Of the median, at 95 %."""


@dataclass(frozen=True)
class Difference:
    """How two groups differ, as a ratio of medians: second over first."""

    ratio: float | None
    interval: Interval | None
    p_value: float | None
    """Chance of a difference of means at least this large if the groups were alike (two-sided)."""
    runs_needed: int | None
    """Runs of each group that would show a difference of the observed size; None where there is nothing to show."""

    def decided(self, comparisons: int = 1) -> bool:
        """Whether the difference is outside noise: interval and permutation test both say so.

        Args:
            comparisons: how many are made at once; the test's level is divided by it (Bonferroni).
        """
        if self.interval is None or self.p_value is None:
            return False
        return not self.interval.holds(1.0) and self.p_value <= (1 - CONFIDENCE) / comparisons + 1e-12


def sample_of(values: Sequence[float]) -> Sample:
    """Median, olympic mean and interval of finite values."""
    kept = tuple(value for value in values if math.isfinite(value))
    return Sample(
        kept,
        statistics.median(kept) if kept else None,
        olympic_mean(kept),
        bootstrap_interval(kept),
    )


def olympic_mean(values: Sequence[float]) -> float | None:
    """The mean without the least and the greatest value (MLPerf's score); None for fewer than three."""
    if len(values) < MINIMUM_RUNS:
        return None
    return statistics.fmean(sorted(values)[1:-1])


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Percentile bootstrap interval of the median (Efron 1979); the same for the same values, whatever their order.

    Too narrow below about ten values, as every percentile bootstrap: no winner is called by it alone.
    """
    if len(values) < MINIMUM_RUNS:
        return None
    return _percentiles(_medians(values, resamples, seed), confidence)


def difference_of(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare two groups of positive values."""
    if not first or not second:
        return Difference(None, None, None, None)
    ratio = statistics.median(second) / statistics.median(first)
    if min(len(first), len(second)) < MINIMUM_RUNS:
        return Difference(ratio, None, None, None)
    ratios = _medians(second, RESAMPLES, 1) / _medians(first, RESAMPLES, 2)
    return Difference(ratio, _percentiles(ratios, CONFIDENCE), permutation_p(first, second), runs_needed(first, second))


@dataclass(frozen=True)
class Paired:
    """Ratios of runs that belong together two by two."""

    ratio: float | None
    """Their median."""
    interval: Interval | None
    p_value: float | None
    """Chance of a mean log ratio at least this far from 0, if either sign were as likely for each (two-sided)."""

    def decided(self, comparisons: int = 1) -> bool:
        """As `Difference.decided`."""
        if self.interval is None or self.p_value is None:
            return False
        return not self.interval.holds(1.0) and self.p_value <= (1 - CONFIDENCE) / comparisons + 1e-12


def paired_of(ratios: Sequence[float]) -> Paired:
    """Median, interval and sign-flip test (Fisher 1935) of positive ratios; no test decides below six of them."""
    if not ratios:
        return Paired(None, None, None)
    logs = np.log(np.asarray(ratios, dtype=np.float64))
    exact = 2 ** len(logs) <= _EXACT_UP_TO
    signs = (
        np.array(list(itertools.product((1.0, -1.0), repeat=len(logs))))
        if exact
        else np.random.default_rng(4).choice((1.0, -1.0), size=(_EXACT_UP_TO, len(logs)))
    )
    p_value = float(np.mean(np.abs(signs @ logs) >= abs(logs.sum()) * (1 - 1e-9)))
    return Paired(statistics.median(ratios), bootstrap_interval(ratios), p_value)


def least_runs(comparisons: int) -> int:
    """Runs of each group below which no permutation test can decide, with so many comparisons at once."""
    return next(n for n in itertools.count(MINIMUM_RUNS) if 2 / math.comb(2 * n, n) <= (1 - CONFIDENCE) / comparisons)


def permutation_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p-value of the difference of means under exchange of labels: exact where that is affordable.

    Three values against three cannot go below 0.1, whatever they are; four against four reach 0.029.
    """
    pooled = np.array([*first, *second], dtype=np.float64)
    size, total = len(first), pooled.sum()
    sums = _label_sums(pooled, size)
    rest = len(pooled) - size
    gaps = np.abs(sums / size - (total - sums) / rest)
    observed = abs(pooled[:size].mean() - pooled[size:].mean())
    # A hair of tolerance: the same labels summed in another order must count as equal.
    return float(np.mean(gaps >= observed - 1e-9 * max(observed, 1e-300)))


def runs_needed(first: Sequence[float], second: Sequence[float]) -> int | None:
    """Runs of each group to tell means so far apart, at 95 % confidence and 80 % power.

    n = (z(0.975) + z(0.8))^2 (s1^2 + s2^2) / (m1 - m2)^2, the normal approximation; never below four, where
    the permutation test can first decide. None where the means are equal or there is no spread to go by.
    """
    if min(len(first), len(second)) < 2:
        return None
    gap = statistics.fmean(first) - statistics.fmean(second)
    variance = statistics.variance(first) + statistics.variance(second)
    if gap == 0:
        return None
    normal = statistics.NormalDist()
    z = normal.inv_cdf(0.5 + CONFIDENCE / 2) + normal.inv_cdf(POWER)
    return max(4, math.ceil(z * z * variance / (gap * gap)))


def runs_for(values: Sequence[float], share: float) -> int | None:
    """Runs of each of two groups with this spread that would tell means apart which differ by `share` of the mean.

    As `runs_needed`, at the same confidence and power. None below two values, or where they are all alike.
    """
    if len(values) < 2 or not statistics.fmean(values):
        return None
    return runs_needed(values, [value * (1 + share) for value in values]) if statistics.variance(values) else None


def crossing(points: Sequence[tuple[float, float]], target: float, *, falls: bool) -> float | None:
    """Where a curve of (time, quality) first meets the target, linear between its points.

    Args:
        falls: whether the quality has to fall to the target; otherwise it has to rise to it.

    Returns:
        The time; that of the first point where already that one meets the target; None where none does.
    """

    def met(value: float) -> bool:
        return value <= target if falls else value >= target

    before: tuple[float, float] | None = None
    for time, value in points:
        if math.isnan(value):
            continue
        if met(value):
            if before is None or not math.isfinite(before[1]) or value == before[1]:
                return time
            return before[0] + (time - before[0]) * (target - before[1]) / (value - before[1])
        before = (time, value)
    return None


def _medians(values: Sequence[float], resamples: int, seed: int) -> Vector:
    data = np.sort(np.asarray(values, dtype=np.float64))
    random = np.random.default_rng(seed)
    blocks = [
        np.median(random.choice(data, size=(min(_BLOCK, resamples - done), len(data))), axis=1)
        for done in range(0, resamples, _BLOCK)
    ]
    return np.concatenate(blocks)


def _percentiles(values: Vector, confidence: float) -> Interval:
    edge = 100 * (1 - confidence) / 2
    low, high = np.percentile(values, [edge, 100 - edge])
    return Interval(float(low), float(high))


def _label_sums(pooled: Vector, size: int) -> Vector:
    """The first group's sum under every choice of labels, or under many random ones."""
    if math.comb(len(pooled), size) <= _EXACT_UP_TO:
        return np.array([sum(chosen) for chosen in itertools.combinations(pooled.tolist(), size)])
    random = np.random.default_rng(3)
    return np.array([random.permutation(pooled)[:size].sum() for _ in range(_EXACT_UP_TO)])
