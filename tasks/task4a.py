"""Task 4a: GNMT from English to German, with MLBench's values.

Measured here: see benchmarks/README.md.

The quality is that of task 4b: uncased BLEU of the whole of newstest2014 (the smoke goal: of Multi30k's validation
split), the target 24.0 as MLPerf defined it, sacrebleu's default beside it.

Stated differences from MLBench: those of task 4b, and: an evaluation at the end of each epoch alone, where MLBench had
one every 30 % of an epoch and then did not look at the one at the end.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..datasets.pairs import bucketed
from ..models.gnmt import GNMT, GNMTConfig
from . import recipes
from .base import Setup
from .recipe4 import Recipe4a
from .schedules import warmup_and_halvings
from .translation import Translation


class Task4a(Translation):
    """One rank's share of task 4a."""

    def __init__(self, setup: Setup, recipe: Recipe4a | None = None) -> None:
        self.recipe: Recipe4a = recipe or recipes.build("task4a", setup.recipe, setup.changes)
        super().__init__(setup, self.recipe)
        self._total_steps = self.recipe.schedule_epochs * max(1, len(self._train) // self.recipe.pairs_per_step)

    def network(self, vocabulary: int) -> GNMT:
        recipe = self.recipe
        return GNMT(GNMTConfig(vocabulary, recipe.width, recipe.layers, recipe.dropout, recipe.init_range))

    def passes(self) -> int:
        return max(1, self.recipe.pairs_per_step // (self.recipe.most_pairs_per_rank * self.setup.world_size))

    @property
    def _pairs_per_pass(self) -> int:
        return max(1, self.recipe.pairs_per_step // (self.setup.world_size * self.passes()))

    def epoch_batches(self, epoch: int) -> list[list[int]]:
        group = self.setup.world_size * self.passes()
        return bucketed(self._train, group, self.setup.seed, epoch, sentences=self._pairs_per_pass)

    def step_weight(self, step: list[list[int]]) -> float:  # noqa: ARG002  # whatever the step's last batch holds
        """MLBench sums over ranks what each divides by its own pairs: the clipping acts on that sum."""
        return self.setup.world_size / (self._pairs_per_pass * self._passes)

    def rate(self, step: int) -> float:
        recipe = self.recipe
        return recipe.learning_rate * warmup_and_halvings(
            step - 1,
            self._total_steps,
            warmup=recipe.warmup_steps,
            remain=recipe.decay_from,
            interval=recipe.decay_interval,
            most=recipe.decay_steps,
            factor=recipe.decay_factor,
        )

    def hyperparameters(self) -> Mapping[str, object]:
        """With the schedule by MLPerf's names, which count in steps."""
        recipe = self.recipe
        return {
            **super().hyperparameters(),
            "opt_learning_rate_alt_warmup_func": True,
            "opt_learning_rate_alt_decay_func": True,
            "opt_learning_rate_remain_steps": round(recipe.decay_from * self._total_steps),
            "opt_learning_rate_decay_interval": round(recipe.decay_interval * self._total_steps),
            "opt_learning_rate_decay_steps": recipe.decay_steps,
            "opt_learning_rate_decay_factor": recipe.decay_factor,
        }


def create(setup: Setup) -> Task4a:
    """The task, ready on this rank's device."""
    return Task4a(setup)
