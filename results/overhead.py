"""What measuring cost, from the pairs of steps of a run with --measure-overhead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .rank import RankRecord

_DRAWS = 2_000


@dataclass(frozen=True)
class MeasuringCost:
    """A measured step over a bare one, 1.0 where measuring costs nothing."""

    ratio: float
    """Median over the pairs, plus the log thread's processor time over that of the measured steps."""
    low: float
    """Bounds of its bootstrap 95 % interval."""
    high: float
    pairs: int
    log_thread_share: float


def measuring_cost(records: Sequence[RankRecord]) -> MeasuringCost | None:
    """The cost over all ranks together; None without pairs that every rank logged."""
    with_pairs = [record for record in records if record.overhead_pairs]
    common = sorted(set.intersection(*(set(record.overhead_pairs) for record in with_pairs)) if with_pairs else ())
    if not common:
        return None
    times = np.array([[record.overhead_pairs[place] for place in common] for record in with_pairs], np.float64)
    bare, measured = times.sum(axis=0).T
    ratios = measured / bare
    # The log's thread works for the measured steps alone, beside bare ones too: the pairs do not see it.
    share = sum(record.log_thread_ns for record in with_pairs) / sum(record.overhead_ns for record in with_pairs)
    draws = np.random.default_rng(0).integers(0, len(ratios), (_DRAWS, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), [2.5, 97.5])
    return MeasuringCost(
        ratio=float(np.median(ratios)) + share, low=float(low) + share, high=float(high) + share,
        pairs=len(common), log_thread_share=share,
    )  # fmt: skip
