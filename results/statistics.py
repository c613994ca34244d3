"""Statistics of repeated runs: few values, skewed, dear to get; what can be said of them and what cannot.

Numbers of runs are small (three to twenty), so the median stands for a group, intervals are those of order statistics,
which cover what they say whatever the runs are distributed like, and a difference counts only where an exact
permutation test agrees with its interval.
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
_EXACT_UP_TO = 50_000

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Both ends of a confidence interval, in the unit of the values."""

    low: float
    high: float
    coverage: float = CONFIDENCE
    """How surely it holds what it is an interval of: at least 0.95, or what so few values can give."""

    @property
    def full(self) -> bool:
        """Whether it covers what intervals are to cover."""
        return self.coverage >= CONFIDENCE

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Sample:
    """What a group of values says; None where there are too few."""

    values: tuple[float, ...]
    median: float | None
    olympic_mean: float | None
    interval: Interval | None
    """Of the median."""


@dataclass(frozen=True)
class Difference:
    """How two groups differ, as a ratio of medians: second over first."""

    ratio: float | None
    interval: Interval | None
    """Of the ratio between a run of the second and one of the first."""
    p_value: float | None
    """Chance of a difference of means at least this large if the groups were alike (two-sided)."""
    runs_needed: int | None
    """Runs of each group that would show a difference of the observed size; None where there is nothing to show."""
    least_p: float | None = None
    """The least p-value that groups of these sizes can come to, whatever their values."""

    def decidable(self, comparisons: int = 1) -> bool:
        """Whether there are runs enough for `decided` to be true of any values."""
        return self.least_p is not None and self.least_p <= (1 - CONFIDENCE) / comparisons + 1e-12

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
        median_interval(kept),
    )


def olympic_mean(values: Sequence[float]) -> float | None:
    """The mean without the least and the greatest value (MLPerf's score); None for fewer than three."""
    if len(values) < MINIMUM_RUNS:
        return None
    return statistics.fmean(sorted(values)[1:-1])


def median_interval(values: Sequence[float]) -> Interval | None:
    """The interval of a median between two of the values; None below three of them.

    The k-th least and the k-th greatest of n values miss the median with a chance of 2 P(B < k), B binomial of n and
    1/2 (Conover, Practical Nonparametric Statistics, 3.2): exact for any continuous distribution. k is the largest that
    covers 95 %; below six values none does, and the interval, from the least to the greatest, says what it covers.
    """
    if len(values) < MINIMUM_RUNS:
        return None
    return _between(sorted(values), [math.comb(len(values), k) for k in range(len(values) + 1)])


def difference_of(first: Sequence[float], second: Sequence[float], comparisons: int = 1) -> Difference:
    """Compare two groups of positive values.

    Args:
        comparisons: how many are made at once, for `runs_needed`.
    """
    if not first or not second:
        return Difference(None, None, None, None)
    ratio = statistics.median(second) / statistics.median(first)
    if min(len(first), len(second)) < MINIMUM_RUNS:
        return Difference(ratio, None, None, None)
    return Difference(
        ratio,
        ratio_interval(first, second),
        permutation_p(first, second),
        runs_needed(first, second, comparisons),
        _least_p(len(first), len(second)),
    )


def ratio_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """The interval of how many times a value of the first group one of the second is, both groups positive.

    The k-th least and the k-th greatest of all ratios between the two, k from the distribution of Mann and Whitney's U
    (Moses; Hollander and Wolfe, Nonparametric Statistical Methods, 4.3, on the logarithms): exact where the groups
    differ by a factor alone. Three against three cover 90 % at most.
    """
    ratios = sorted(two / one for one in first for two in second)
    found = _between(ratios, _mann_whitney(len(first), len(second)))
    # Of groups that differ in shape, too, the ratio of the medians may lie outside.
    ratio = statistics.median(second) / statistics.median(first)
    return Interval(min(found.low, ratio), max(found.high, ratio), found.coverage)


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
    return Paired(statistics.median(ratios), median_interval(ratios), p_value)


def least_runs(comparisons: int) -> int:
    """Runs of each group below which no permutation test can decide, with so many comparisons at once."""
    return next(n for n in itertools.count(MINIMUM_RUNS) if _least_p(n, n) <= (1 - CONFIDENCE) / comparisons)


def _least_p(first: int, second: int) -> float:
    """Of all ways to label so many values, two are furthest apart where the groups are of one size, else one."""
    return (2 if first == second else 1) / math.comb(first + second, first)


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


def runs_needed(first: Sequence[float], second: Sequence[float], comparisons: int = 1) -> int | None:
    """Runs of each group to tell means so far apart, at 95 % confidence and 80 % power.

    n = (z(1 - 0.025 / c) + z(0.8))^2 (s1^2 + s2^2) / (m1 - m2)^2 for c comparisons at once, the normal approximation;
    never fewer than the permutation test can decide with. None where the means are equal, or no spread is known.
    """
    if min(len(first), len(second)) < 2:
        return None
    gap = statistics.fmean(first) - statistics.fmean(second)
    variance = statistics.variance(first) + statistics.variance(second)
    if gap == 0:
        return None
    normal = statistics.NormalDist()
    z = normal.inv_cdf(1 - (1 - CONFIDENCE) / 2 / comparisons) + normal.inv_cdf(POWER)
    return max(least_runs(comparisons), math.ceil(z * z * variance / (gap * gap)))


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


def _between(ordered: Sequence[float], ways: Sequence[int]) -> Interval:
    """From the k-th least to the k-th greatest, k the largest that covers 95 %, at least 1.

    Args:
        ways: in how many of the equally likely cases the statistic that decides is 0, 1, 2, ...
    """
    total, below, k = sum(ways), ways[0], 1
    while k < len(ordered) // 2 and 1 - 2 * (below + ways[k]) / total >= CONFIDENCE:
        below += ways[k]
        k += 1
    return Interval(ordered[k - 1], ordered[-k], 1 - 2 * below / total)


def _mann_whitney(first: int, second: int) -> list[int]:
    """In how many ways U is 0, 1, ... for groups of these sizes: the coefficients of a Gaussian binomial."""
    ways = [1] + [0] * (first * second)
    for i in range(1, first + 1):
        for u in range(first * second, second + i - 1, -1):
            ways[u] -= ways[u - second - i]
        for u in range(i, first * second + 1):
            ways[u] += ways[u - i]
    return ways


def _label_sums(pooled: Vector, size: int) -> Vector:
    """The first group's sum under every choice of labels, or under many random ones."""
    if math.comb(len(pooled), size) <= _EXACT_UP_TO:
        return np.array([sum(chosen) for chosen in itertools.combinations(pooled.tolist(), size)])
    random = np.random.default_rng(3)
    return np.array([random.permutation(pooled)[:size].sum() for _ in range(_EXACT_UP_TO)])
