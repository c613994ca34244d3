"""Task 1a: ResNet-20 on CIFAR-10, with MLBench's exact hyperparameters and, as `fast`, with ours.

Measured here: see benchmarks/README.md. MLBench's own record for the reference recipe: 80 % after 11 to 18 epochs,
171 s on one T4.

Stated differences from MLBench, whose reference took the test set for validation and let its loss steer the rate:
validation is every tenth image held out of the training set, the test set is evaluated once, at the end; the order
of the samples is drawn anew from all of them in each epoch, where MLBench gave each rank the same part for ever; the
initial weights are broadcast; a sample's crop and flip are its own on whatever rank it lands; batch normalisation's
running statistics are averaged over the ranks before an evaluation.

Shapes: B images of this rank, C channels, S pixels a side, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.resnet_cifar import ResNetCIFAR, ResNetCIFARConfig
from . import named_schedules, optimisers, recipes
from .augment import CropAndFlip
from .base import SPLITS, Batch, Evaluation, Setup
from .compiling import compile_here, compiled, precision_of
from .plateau import WarmupPlateau
from .recipe1a import Recipe1a
from .schedules import one_cycle
from .supervised import average_buffers, batch_places, labelled_splits, loaded, score, share_sizes, steps_per_epoch

_MEAN = (0.4914, 0.4822, 0.4465)
_STD = (0.2023, 0.1994, 0.2010)
"""Of CIFAR-10's channels, as MLBench has them."""

_EVALUATED_TOGETHER = {"cpu": 500, "cuda": 5_000}
"""Images: what a CPU's caches hold, and what keeps a GPU busy."""

_COMPILED_AFTER = 4
"""Passes after which compiled code has been made, warmed up and recorded as a CUDA graph."""


class Task1a:
    """One rank's share of task 1a."""

    metric = "top-1 accuracy (%)"
    splits = SPLITS
    clip_norm: float | None = None

    def __init__(self, setup: Setup, recipe: Recipe1a | None = None) -> None:
        self.setup = setup
        self.recipe = recipe or recipes.build("task1a", setup.recipe, setup.changes, setup.batch_per_rank)
        recipe = self.recipe
        self._splits = labelled_splits(setup.data_path, recipe.train_images, recipe.eval_images)
        if recipe.data_on_device:
            self._splits = {name: split.on(setup.device) for name, split in self._splits.items()}
        self._augment = CropAndFlip(recipe.crop_padding, recipe.flip)
        self._steps_per_epoch = steps_per_epoch(setup, self._train_images, recipe.batch_per_rank)
        self._layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        # The images alone: convolutions follow their layout. The weights stay as the all-reduce buffer has them.
        self.model = ResNetCIFAR(ResNetCIFARConfig(recipe.depth, recipe.width)).to(setup.device)
        compiling = compile_here(recipe.compile, setup.device)
        self._network = compiled(self.model, graphs=True) if compiling else self.model
        mean, std = torch.tensor(_MEAN) * 255, torch.tensor(_STD) * 255
        self._mean, self._std = (v.view(3, 1, 1).to(setup.device) for v in (mean, std))
        ranks = recipe.as_if_ranks or setup.world_size
        peak = recipe.learning_rate * ranks
        self._schedule = WarmupPlateau(
            base=recipe.learning_rate,
            peak=peak,
            warmup_epochs=int(math.log2(ranks)),
            factor=recipe.plateau_factor,
            patience=recipe.plateau_patience,
            threshold=recipe.plateau_threshold,
        )
        self._peak = peak
        self._named = named_schedules.named("task1a", recipe.schedule)
        self._steps = 0
        self._validation_loss = math.nan
        self._optimiser = self._made_optimiser()
        if compiling:
            self._warm_up()

    def _made_optimiser(self) -> Any:
        recipe = self.recipe
        common: Any = {"lr": self._peak, "momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
        if recipe.optimiser != optimisers.RECIPES_OWN:
            return optimisers.make(recipe.optimiser, self.model, **common)
        fused = recipe.fused_optimiser or None
        return torch.optim.SGD(self.model.parameters(), nesterov=recipe.nesterov, fused=fused, **common)

    def _warm_up(self) -> None:
        """Have all that runs on the clock compiled or loaded, on images of zeros, and leave no trace of it.

        Forward and backward are compiled for both sizes of a batch; the kernels of augmentation, optimiser and
        evaluation are loaded by their first use, which takes longer than an epoch.
        """
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        sizes = {end - first for first, end in share_sizes(self.setup, self._train_images, self.recipe.batch_per_rank)}
        for size in sorted(sizes, reverse=True):
            images_BCSS, labels_B = self._zeros(size)
            for _ in range(_COMPILED_AFTER):
                augmented = self._augment(images_BCSS, labels_B, 1, 0, 0)
                objective, _ = self.forward(Batch(size, size, (augmented, labels_B)))
                objective.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
                self.optimise()
        self.model.eval()
        with torch.no_grad():
            self._scores(self._zeros(min(_EVALUATED_TOGETHER[self.setup.device.type], self._train_images))[0])
        self.model.train()
        self.model.load_state_dict(before)
        self._steps, self._optimiser = 0, self._made_optimiser()

    def _zeros(self, count: int) -> tuple[Tensor, Tensor]:
        """So many black images of the data set's shape, and labels of zero."""
        shape, device = (count, *self._splits["train"].samples.shape[1:]), self.setup.device
        return torch.zeros(shape, dtype=torch.uint8, device=device), torch.zeros(count, dtype=torch.long, device=device)

    # --- data ---------------------------------------------------------------------------------------------------

    def batches(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        train, seed, total = self._splits["train"], self.setup.seed, self._train_images
        device = train.samples.device
        for places_B, weight in batch_places(self.setup, total, self.recipe.batch_per_rank, epoch, skip, device):
            chosen_B = train.chosen[places_B]
            images_BCSS = self._augment(train.samples[chosen_B], places_B, total, seed, epoch)
            labels_B = train.labels[chosen_B].long()
            yield Batch(len(labels_B), len(labels_B), (images_BCSS, labels_B), weight)

    def to_device(self, batch: Batch) -> Batch:
        return loaded(batch, self.setup.device)

    # --- model and loss -----------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the augmented images, weighted so that the average over ranks is that over samples."""
        images_BCSS, labels_B = batch.tensors
        with precision_of(self.setup.device, self.recipe.precision):
            scores_BK = self._network(self._normalised(images_BCSS))
        loss = F.cross_entropy(scores_BK.float(), labels_B, label_smoothing=self.recipe.label_smoothing)
        return loss * batch.weight, loss.detach()

    def _normalised(self, images_BCSS: Tensor) -> Tensor:
        return ((images_BCSS.float() - self._mean) / self._std).contiguous(memory_format=self._layout)

    # --- optimiser ----------------------------------------------------------------------------------------------

    def optimise(self) -> None:
        rate = self._schedule.rate
        if self.recipe.schedule == "one-cycle":
            total = max(1, round(self.recipe.cycle_epochs * self._steps_per_epoch))
            rate = self._peak * one_cycle(self._steps, total, self.recipe.peak_at)
        if self._named:
            rate = self._peak * self._named.factor(self._steps, self._steps_per_epoch)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=False)
        self._steps += 1

    def end_epoch(self, quality: float) -> str | None:  # noqa: ARG002  # the schedule looks at the loss, not at it
        if self.recipe.schedule == "plateau":
            self._schedule.end_epoch(self._validation_loss)
        return None

    # --- evaluation ---------------------------------------------------------------------------------------------

    def averages(self) -> AbstractContextManager[bool]:
        return optimisers.averages(self._optimiser)

    def evaluate(self, split: str) -> Evaluation:
        """Top-1 accuracy in percent, on one unaugmented view of each image."""
        data = self._splits[split]
        average_buffers(self.setup, self.model)
        self.model.eval()

        def losses_and_hits(chosen_B: Tensor) -> tuple[Tensor, Tensor]:
            labels_B = data.labels[chosen_B].long().to(self.setup.device)
            scores_BK = self._scores(data.samples[chosen_B].to(self.setup.device))
            return F.cross_entropy(scores_BK, labels_B, reduction="sum"), (scores_BK.argmax(1) == labels_B).sum()

        scored = score(self.setup, data, _EVALUATED_TOGETHER[self.setup.device.type], losses_and_hits)
        self.model.train()
        if split == "validation":
            self._validation_loss = scored.loss
        return scored.evaluation

    def _scores(self, images_BCSS: Tensor) -> Tensor:
        with precision_of(self.setup.device, self.recipe.precision):
            # Not the compiled one: it would be compiled a second time, for the evaluation's shapes.
            scores_BK: Tensor = self.model(self._normalised(images_BCSS))
        return scores_BK.float()

    # --- facts and state ----------------------------------------------------------------------------------------

    @property
    def _train_images(self) -> int:
        return len(self._splits["train"].chosen)

    def hyperparameters(self) -> Mapping[str, object]:
        recipe = self.recipe
        return {
            "global_batch_size": recipe.batch_per_rank * self.setup.world_size,
            "train_samples": self._train_images,
            "eval_samples": len(self._splits["validation"].chosen),
            "opt_name": "sgd" if recipe.optimiser == optimisers.RECIPES_OWN else recipe.optimiser,
            "opt_base_learning_rate": self._peak,
            "opt_weight_decay": recipe.weight_decay,
            **asdict(recipe),
        }

    def state(self) -> dict[str, object]:
        return {
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state(),
            "steps": self._steps,
            "validation_loss": self._validation_loss,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state(state["schedule"])
        self._steps, self._validation_loss = state["steps"], state["validation_loss"]


def create(setup: Setup) -> Task1a:
    """The task, ready on this rank's device."""
    return Task1a(setup)
