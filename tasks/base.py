"""What the training loop needs of a task, and what a task is given: the seam between time and maths.

A task never reads a clock and never logs; the loop never knows what is being learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Setup:
    """Where and as what a task runs."""

    goal: str
    recipe: str
    data_path: Path
    """Folder of the prepared data set."""
    seed: int
    rank: int
    world_size: int
    device: torch.device
    sum_over_ranks: Callable[[Tensor], Tensor]
    """Adds a small tensor up over all ranks, in place; for evaluations, never inside a training step."""
    changes: Mapping[str, str] = field(default_factory=dict)
    """What the user set differently from the recipe: hyperparameter -> value, as typed."""
    batch_per_rank: int | None = None
    """Samples of each rank in a step; None for the recipe's own."""


@dataclass(frozen=True)
class Batch:
    """One rank's share of one training step."""

    samples: int
    """Sequences, images or sentences of this rank."""
    tokens: int
    """Predictions of this rank that the loss averages over."""
    tensors: tuple[Tensor, ...]
    weight: float = 1.0
    """Ranks times this rank's share of the step: with it the average over ranks is the mean over all samples."""
    parts: tuple[Batch, ...] = ()
    """What is too large for one pass: batches whose weighted objectives and losses add up to the step's."""


@dataclass(frozen=True)
class Evaluation:
    """The outcome of evaluating one split; equal on every rank."""

    quality: float
    samples: int
    """Predictions that were evaluated, over all ranks."""
    details: Mapping[str, float | str] = field(default_factory=dict)
    """What else was found, by name: another metric's value, the signature of a metric."""


SPLITS = ("validation", "test")


class Task(Protocol):
    """One reference task on one rank. The loop calls, for each epoch: `batches`, then for each batch `to_device`,
    `forward`, (backward, aggregation and clipping are the loop's), `optimise`; then `evaluate` inside `averages`, and
    `end_epoch`."""

    model: nn.Module
    metric: str
    """What an evaluation measures, without the split: `perplexity`."""
    splits: tuple[str, ...]
    """What can be evaluated: `validation`, and `test` where the data has a labelled one."""
    clip_norm: float | None
    """The norm that a step's averaged gradient is clipped to before `optimise`; None: it is not."""

    def hyperparameters(self) -> Mapping[str, object]:
        """Everything that decides the result, by MLPerf's names where it has them (results/keys.py)."""

    def batches(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """This rank's batches of an epoch, on the host, but for the first `skip`; every rank yields equally many.

        With `skip` the epoch goes on where `load_state` left it: nothing that a batch before it left is lost.
        """

    def to_device(self, batch: Batch) -> Batch:
        """The batch on the rank's device."""

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The objective to differentiate and, detached, the loss to report; scalars."""

    def optimise(self) -> None:
        """One optimiser step on the averaged gradients, which are then set to zero."""

    def averages(self) -> AbstractContextManager[bool]:
        """Inside, the model has the averaged weights, where the optimiser keeps any to be judged by; gives whether.

        Afterwards it has those it had before. Between the two the pattern makes them the same on every rank.
        """

    def evaluate(self, split: str) -> Evaluation:
        """Quality of the model's weights on one of the splits, over all ranks together."""

    def end_epoch(self, quality: float) -> str | None:
        """Adapt to an epoch's validation quality; the name of the new optimiser if it was switched, else None."""

    def state(self) -> dict[str, object]:
        """Everything that decides how training goes on from here, but torch's own random numbers: tensors, plain
        numbers, strings, lists and dicts of them. It may share memory with the task."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state` gave, of the same recipe, data and number of ranks."""
