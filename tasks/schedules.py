"""Learning-rate schedules as pure functions of the step: factors of the highest rate, or the rate. Needs no torch.

`WarmupPlateau` (plateau.py) goes by the losses seen; `--set schedule=NAME` (named_schedules.py) goes by these.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence


def one_cycle(step: int, total: int, peak_at: float) -> float:
    """Factor of the peak rate at a step (from 0): linear up over the first `peak_at` of the steps, then down to 0."""
    done = (step + 1) / total
    return done / peak_at if done < peak_at else max(0.0, (1.0 - done) / (1.0 - peak_at))


def inverse_root(step: float, warmup: float, start: float = 0.0) -> float:
    """Factor of the peak rate at a step (from 1): linear up from `start` over `warmup` steps, then the root of
    warmup / step."""
    return linear_warmup(step, warmup, start) if step < warmup else (warmup / step) ** 0.5


def linear_warmup(step: float, warmup: float, start: float = 0.0) -> float:
    """Factor at a step (from 0): linear up from `start` over `warmup` steps, then 1."""
    return start + (1.0 - start) * step / warmup if step < warmup else 1.0


def multistep(step: float, milestones: Sequence[float], gamma: float, warmup: float = 0.0, start: float = 0.0) -> float:
    """Factor at a step (from 0): a linear warm-up, then times `gamma` from each milestone on."""
    return linear_warmup(step, warmup, start) if step <= warmup else gamma ** bisect_right(milestones, step)


def stepping(step: float, boundaries: Sequence[float], factors: Sequence[float], warmup: bool = False) -> float:
    """Factor at a step (from 0): the one of the stretch between two boundaries that it lies in.

    Args:
        factors: one more than boundaries.
        warmup: rise linearly to the second factor over the first stretch.
    """
    place = bisect_right(boundaries, step)
    if warmup and place == 0:
        return factors[0] + (factors[1] - factors[0]) * step / boundaries[0]
    return factors[place]


def warmup_and_halvings(
    step: float, total: float, *, warmup: float, remain: float, interval: float, most: int, factor: float
) -> float:
    """Factor of the peak rate at a step (from 0) of `total`: up from a hundredth, exponentially, over `warmup` steps;
    from `remain` x total on times `factor`, once more every `interval` x total, `most` times at most."""
    if step < warmup:
        return float(0.01 ** ((warmup - step) / warmup))
    if step < remain * total:
        return 1.0
    # The tiny addend keeps a step that lies on a border there: the quotient may be a hair below a whole number.
    return float(factor ** min(most, int((step - remain * total) / (interval * total) + 1e-9) + 1))


def polynomial(step: float, *, warmup: float, total: float, power: float, peak: float, end: float) -> float:
    """The rate of a step (from 0): linear up from 0 over `warmup` steps, then a power of what is left of `total` + 1.

    As MLPerf's ResNet reference has it (its lars_util.py): the very first step has the rate 0.
    """
    if step <= warmup:
        return peak * step / warmup if warmup else peak
    left = max(0.0, 1.0 - (step - warmup) / (total - warmup + 1))
    return float((peak - end) * left**power + end)


def poly_decay(step: float, *, warmup: float, decay: float, power: float, end: float, start: float = 0.0) -> float:
    """Factor at a step (from 0): linear up from `start` over `warmup` steps, then down to `end` over `decay` more, the
    `power` of a straight line."""
    if step <= warmup:
        return linear_warmup(step, warmup, start)
    done = min(1.0, (step - warmup) / decay)
    return float((1.0 - done + end ** (1.0 / power) * done) ** power)


def time_decay(step: float, beta: float) -> float:
    """Factor at a step (from 0): 1 / (beta + step)."""
    return 1.0 / (beta + step)


def root_decay(step: float) -> float:
    """Factor at a step (from 0): one over its root, and 1 at the first."""
    return 1.0 / math.sqrt(max(1.0, step))


def shifted_decay(step: float, shift: float) -> float:
    """Factor at a step (from 0): 1 / (shift + step), 1 at most; for sparsified SGD (Stich et al. 2018)."""
    return 1.0 / max(1.0, shift + step)
