"""Which samples a rank trains on and evaluates: each sample once an epoch, on one rank, for any number of ranks.

The order is drawn from the run's seed and the epoch alone, so that it is the same on every rank, needs no message,
and a resumed run finds it again. N samples, k ranks, B samples of all ranks in a step.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..errors import UsageError


def generator(*numbers: int) -> torch.Generator:
    """A stream of random numbers of its own for each tuple of small numbers: (seed, purpose, epoch)."""
    state = 0
    for number in numbers:
        # A step of a 64-bit linear congruential generator (Knuth's MMIX) between two numbers keeps tuples apart.
        state = ((state ^ number) * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
    return torch.Generator().manual_seed(state - 2**63)


def hold_out(samples: int, part: int = 10) -> tuple[Tensor, Tensor]:
    """The samples to train on and those held out for validation, one in `part`: sorted, the same in every run."""
    order = torch.randperm(samples, generator=generator(0))
    held = samples // part
    return order[held:].sort().values, order[:held].sort().values


def global_batches(samples: int, batch: int, world: int) -> list[tuple[int, int]]:
    """The steps of an epoch as (first, end) places in its order: all of `batch` samples but the last, which is smaller.

    A rest of fewer samples than ranks joins the step before it: a rank without any sample could not take part.

    Raises:
        UsageError: there are fewer samples than ranks.
    """
    if samples < world:
        raise UsageError(
            f"{samples} samples cannot be shared out to {world} ranks.", fix=f"Use at most {samples} ranks."
        )
    starts = list(range(0, samples, batch))
    if len(starts) > 1 and samples - starts[-1] < world:
        starts.pop()
    return list(zip(starts, [*starts[1:], samples], strict=True))


def share(first: int, end: int, rank: int, world: int) -> tuple[int, int]:
    """A rank's consecutive part of the places from `first` to `end`; the parts differ by one place at most."""
    count = end - first
    return first + count * rank // world, first + count * (rank + 1) // world


def pieces(first: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """The places from `first` to `end` in pieces of `size`, the last of which may be smaller."""
    for start in range(first, end, size):
        yield start, min(start + size, end)
