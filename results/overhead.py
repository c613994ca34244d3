"""What measuring cost, from the pairs of steps of a run with --measure-overhead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .rank import RankRecord

_DRAWS = 2_000


@dataclass(frozen=True)
class MeasuringCost:
    """A measured step over a bare one, 1.0 where measuring costs nothing; the log thread's share is in each number."""

    ratio: float
    """Of time: the median over the pairs."""
    low: float
    """Bounds of its bootstrap 95 % interval."""
    high: float
    pairs: int
    log_thread_share: float
    """The log thread's processor time over the time of the measured steps."""
    cpu_ratio: float | None
    """Of the ranks' processor time, likewise; None where the log does not have it."""
    cpu_low: float | None
    cpu_high: float | None


def measuring_cost(records: Sequence[RankRecord]) -> MeasuringCost | None:
    """The cost over all ranks together; None without pairs that every rank logged."""
    with_pairs = [record for record in records if record.overhead_pairs]
    found = _ratio([record.overhead_pairs for record in with_pairs])
    if found is None:
        return None
    # The log's thread works for the measured steps alone, beside bare ones too: the pairs do not see it.
    share = sum(record.log_thread_ns for record in with_pairs) / sum(record.overhead_ns for record in with_pairs)
    pairs, *times = found
    cpu = _ratio([record.overhead_cpu_pairs for record in with_pairs])
    ratio, low, high = (value + share for value in times)
    cpu_ratio, cpu_low, cpu_high = (value + share for value in cpu[1:]) if cpu else (None, None, None)
    return MeasuringCost(ratio, low, high, pairs, share, cpu_ratio, cpu_low, cpu_high)


def pair_ratios(pairs_of: Sequence[Mapping[int, tuple[float, float]]]) -> NDArray[np.float64]:
    """Measured over bare, summed up over the ranks, of each pair that all of them have."""
    common = sorted(set.intersection(*map(set, pairs_of)) if pairs_of else ())
    times = np.array([[pairs[place] for place in common] for pairs in pairs_of], np.float64)
    if not common:
        return np.zeros(0)
    bare, measured = times.sum(axis=0).T
    ratios: NDArray[np.float64] = measured / bare
    return ratios


def _ratio(pairs_of: Sequence[Mapping[int, tuple[float, float]]]) -> tuple[int, float, float, float] | None:
    """The number of pairs that all ranks have, the median of measured over bare, and its bounds."""
    ratios = pair_ratios(pairs_of)
    if not len(ratios):
        return None
    draws = np.random.default_rng(0).integers(0, len(ratios), (_DRAWS, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), [2.5, 97.5])
    return len(ratios), float(np.median(ratios)), float(low), float(high)
