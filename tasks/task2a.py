"""Task 2a: logistic regression with an L2 penalty on epsilon (a9a for the smoke goal), with MLBench's values.

Measured here: see benchmarks/README.md.

Stated differences from MLBench: it stepped on each rank's own gradient and then averaged the weights in every step,
which for SGD without momentum and equal weights is the same as averaging the gradients first, as here. It let the
test loss steer the learning rate; here one row in ten of the training set is held out for that and for the goal, and
the test set is evaluated once, at the end. The order of the rows is drawn anew from all of them in each epoch.
Labels -1 and +1 are the classes 0 and 1, and the loss is computed from the log-odds, without a sigmoid that saturates.

Shapes: B rows of this rank, F features.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ResultsInvalid
from ..models.logistic import LogisticConfig, LogisticRegression
from . import named_schedules, optimisers, recipes
from .ahead import ahead
from .base import SPLITS, Batch, Evaluation, Setup
from .plateau import WarmupPlateau
from .recipe2a import Recipe2a
from .supervised import batch_places, labelled_splits, loaded, score, steps_per_epoch

_EVALUATED_TOGETHER = 4096

_BLOCK_BYTES = 4 << 20
"""Of the rows that are gathered at once: they stay in a core's cache until they are used."""


class Task2a:
    """One rank's share of task 2a."""

    metric = "top-1 accuracy (%)"
    splits = SPLITS
    clip_norm: float | None = None

    def __init__(self, setup: Setup, recipe: Recipe2a | None = None) -> None:
        self.setup = setup
        self.recipe = recipe or recipes.build("task2a", setup.recipe, setup.changes, setup.batch_per_rank)
        recipe = self.recipe
        self._splits = labelled_splits(setup.data_path, None, None)
        self.model = LogisticRegression(LogisticConfig(self._splits["train"].samples.shape[1])).to(setup.device)
        self._peak = recipe.learning_rate * min(recipe.scaled_ranks, setup.world_size)
        self._schedule = WarmupPlateau(
            base=recipe.learning_rate,
            peak=self._peak,
            warmup_epochs=0,
            factor=recipe.plateau_factor,
            patience=recipe.plateau_patience,
            threshold=recipe.plateau_threshold,
        )
        self._optimiser_name = "sgd" if recipe.optimiser == optimisers.RECIPES_OWN else recipe.optimiser
        self._optimiser = optimisers.make(
            self._optimiser_name, self.model, lr=self._peak, momentum=0.0, weight_decay=0.0
        )
        self._validation_loss = math.nan
        self._named = named_schedules.named("task2a", recipe.schedule)
        self._steps_per_epoch = steps_per_epoch(setup, len(self._splits["train"].chosen), recipe.batch_per_rank)
        self._steps = 0

    # --- data ---------------------------------------------------------------------------------------------------

    def batches(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """Several steps' rows are gathered at once, ahead of time: a step is shorter than fetching its own rows."""
        for block in ahead(self._blocks(epoch, skip), depth=2):
            yield from block

    def _blocks(self, epoch: int, skip: int) -> Iterator[list[Batch]]:
        train = self._splits["train"]
        steps = batch_places(self.setup, len(train.chosen), self.recipe.batch_per_rank, epoch, skip)
        most = max(1, _BLOCK_BYTES // (self.recipe.batch_per_rank * train.samples[0].nbytes))
        size = 1  # the first steps do not wait for a whole block
        while block := list(itertools.islice(steps, size)):
            size = min(2 * size, most)
            chosen_N = train.chosen[torch.cat([places_B for places_B, _ in block])]
            samples_NF, labels_N = train.samples.index_select(0, chosen_N), train.labels[chosen_N].float()
            counts = [len(places_B) for places_B, _ in block]
            pieces = zip(torch.split(samples_NF, counts), torch.split(labels_N, counts), strict=True)
            yield [
                Batch(len(y_B), len(y_B), (x_BF, y_B), weight)
                for (x_BF, y_B), (_, weight) in zip(pieces, block, strict=True)
            ]

    def to_device(self, batch: Batch) -> Batch:
        return loaded(batch, self.setup.device)

    # --- model and loss -----------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy plus l2 / 2 times the sum of the squared weights; reported is the whole."""
        x_BF, y_B = batch.tensors
        cross_entropy = F.binary_cross_entropy_with_logits(self.model(x_BF), y_B)
        penalty = self._penalty()
        return cross_entropy * batch.weight + penalty, (cross_entropy + penalty).detach()

    def _penalty(self) -> Tensor:
        return self.recipe.l2 / 2 * self.model.linear.weight.square().sum()

    # --- optimiser ----------------------------------------------------------------------------------------------

    def optimise(self) -> None:
        rate = self._schedule.rate
        if self._named:
            rate = self._peak * self._named.factor(self._steps, self._steps_per_epoch)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=False)
        self._steps += 1

    def end_epoch(self, quality: float) -> str | None:  # noqa: ARG002  # the schedule looks at the loss, not at it
        self._schedule.end_epoch(self._validation_loss)
        return None

    # --- evaluation ---------------------------------------------------------------------------------------------

    def averages(self) -> AbstractContextManager[bool]:
        return optimisers.averages(self._optimiser)

    def evaluate(self, split: str) -> Evaluation:
        """Accuracy in percent; the penalised loss is kept for the schedule."""
        data = self._splits[split]

        def losses_and_hits(chosen_B: Tensor) -> tuple[Tensor, Tensor]:
            y_B = data.labels[chosen_B].float().to(self.setup.device)
            scores_B = self.model(data.samples[chosen_B].to(self.setup.device))
            loss = F.binary_cross_entropy_with_logits(scores_B, y_B, reduction="sum")
            return loss, ((scores_B > 0) == (y_B > 0)).sum()

        scored = score(self.setup, data, _EVALUATED_TOGETHER, losses_and_hits)
        if split == "validation":
            self._validation_loss = scored.loss + float(self._penalty().detach())
        return scored.evaluation

    # --- facts and state ----------------------------------------------------------------------------------------

    def hyperparameters(self) -> Mapping[str, object]:
        return {
            "global_batch_size": self.recipe.batch_per_rank * self.setup.world_size,
            "train_samples": len(self._splits["train"].chosen),
            "eval_samples": len(self._splits["validation"].chosen),
            "opt_name": self._optimiser_name,
            "opt_base_learning_rate": self._peak,
            **asdict(self.recipe),
            "features": self.model.config.features,
        }

    def state(self) -> dict[str, object]:
        return {
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state(),
            "validation_loss": self._validation_loss,
            "steps": self._steps,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        if "optimiser" in state:
            self._optimiser.load_state_dict(state["optimiser"])
        elif self._optimiser_name != "sgd":  # which keeps nothing here, without momentum
            raise ResultsInvalid(
                f"The checkpoint lacks the state of {self._optimiser_name}, which training would go on without.",
                why="It is of a version of mlb that did not save the optimiser of task 2a.",
                fix="Start the run anew, without --resume.",
            )
        self._schedule.load_state(state["schedule"])
        self._validation_loss = state["validation_loss"]
        self._steps = state["steps"]


def create(setup: Setup) -> Task2a:
    """The task, ready on this rank's device."""
    return Task2a(setup)
