"""What the tasks that learn labels share: which samples when, and an accuracy that is the same for any world size.

The validation split is held out of the training data (one sample in ten, the same in every run), so that no test
data steers training: MLBench took the test set for both, and let its loss steer the learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..datasets.load import load_array
from ..datasets.share import generator, global_batches, hold_out, pieces, share
from .base import Batch, Evaluation, Setup

_ORDER = 1
"""Purpose of a stream of random numbers: the order of an epoch's samples."""


@dataclass(frozen=True)
class Labelled:
    """Samples of one split, (N, …), with labels, (N,); `chosen` are the places in them to use, (n,)."""

    samples: Tensor
    labels: Tensor
    chosen: Tensor

    def on(self, device: torch.device) -> Labelled:
        """The same on a device."""
        return Labelled(self.samples.to(device), self.labels.to(device), self.chosen.to(device))


def labelled_splits(path: Path, train: int | None, evaluated: int | None) -> dict[str, Labelled]:
    """`train`, `validation` and `test` of a prepared data set, cut to so many samples where a number is given."""
    samples, labels = load_array(path, "train"), load_array(path, "train_labels")
    trained, held = hold_out(len(labels))
    test_labels = load_array(path, "test_labels")
    return {
        "train": Labelled(samples, labels, _some(trained, train)),
        "validation": Labelled(samples, labels, _some(held, evaluated)),
        "test": Labelled(load_array(path, "test"), test_labels, _some(torch.arange(len(test_labels)), evaluated)),
    }


def _some(chosen: Tensor, limit: int | None) -> Tensor:
    """The first of them; a limit is a prefix, so that a smaller one is a part of a larger one."""
    return chosen[:limit]


def epoch_order(setup: Setup, samples: int, epoch: int) -> Tensor:
    """All places in the order in which an epoch sees them, (samples,)."""
    return torch.randperm(samples, generator=generator(setup.seed, _ORDER, epoch))


def batch_places(
    setup: Setup, samples: int, batch_per_rank: int, epoch: int, skip: int, device: torch.device | None = None
) -> Iterator[tuple[Tensor, float]]:
    """For each step of an epoch but the first `skip`: this rank's places among `samples`, (b,), and its weight.

    The places are on `device`; None is the host.
    """
    order = epoch_order(setup, samples, epoch).to(device or "cpu")
    for first, end in global_batches(samples, batch_per_rank * setup.world_size, setup.world_size)[skip:]:
        mine = share(first, end, setup.rank, setup.world_size)
        yield order[mine[0] : mine[1]], (mine[1] - mine[0]) * setup.world_size / (end - first)


def steps_per_epoch(setup: Setup, samples: int, batch_per_rank: int) -> int:
    """How many steps an epoch has."""
    return len(global_batches(samples, batch_per_rank * setup.world_size, setup.world_size))


def share_sizes(setup: Setup, samples: int, batch_per_rank: int) -> list[tuple[int, int]]:
    """This rank's share of every step of an epoch, as (first, end)."""
    steps = global_batches(samples, batch_per_rank * setup.world_size, setup.world_size)
    return [share(first, end, setup.rank, setup.world_size) for first, end in steps]


@dataclass(frozen=True)
class Scored:
    """The outcome of an evaluation, with the loss that schedules look at."""

    evaluation: Evaluation
    loss: float


@torch.no_grad()
def score(
    setup: Setup, data: Labelled, size: int, losses_and_hits: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Scored:
    """Accuracy in percent and mean loss over a split, each rank taking a part of it.

    Args:
        size: samples looked at together.
        losses_and_hits: gives, for places in the split, (b,), the sum of their losses and the number of hits.
    """
    totals = torch.zeros(3, dtype=torch.float64, device=setup.device)
    for first, end in pieces(*share(0, len(data.chosen), setup.rank, setup.world_size), size):
        loss, hits = losses_and_hits(data.chosen[first:end])
        totals += torch.stack([loss.double(), hits.double(), torch.tensor(float(end - first), device=setup.device)])
    loss_sum, hit_sum, count = setup.sum_over_ranks(totals).tolist()
    return Scored(Evaluation(quality=100.0 * hit_sum / count, samples=int(count)), loss_sum / count)


def average_buffers(setup: Setup, model: nn.Module) -> None:
    """Make the running statistics of batch normalisation those of all ranks: their mean, on every rank."""
    buffers = [b for b in model.buffers() if b.is_floating_point()]
    if setup.world_size == 1 or not buffers:
        return
    flat = torch.cat([b.double().flatten() for b in buffers])
    setup.sum_over_ranks(flat)
    flat /= setup.world_size
    for buffer, values in zip(buffers, torch.split(flat, [b.numel() for b in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))


def loaded(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    tensors = tuple(t.to(device, non_blocking=True) for t in batch.tensors)
    return Batch(batch.samples, batch.tokens, tensors, batch.weight)
