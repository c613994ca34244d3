"""Task 4b: the Transformer, big and normalised first, from English to German, with MLBench's values.

Measured here: see benchmarks/README.md.

The quality is uncased BLEU with international tokenisation, of the whole of newstest2014 (the smoke goal: of Multi30k's
validation split), as MLPerf defined the target of 25.0. Nothing of the training looks at it but the clock. sacrebleu's
default, cased and 13a, is told beside it, each with its signature. newstest2013 is translated once, at the end.

Stated differences from MLBench: subwords by sentencepiece, learned from the training text (MLBench took a fixed list);
bfloat16 under autocast on GPUs, float32 on CPUs, where it had float16 with loss scaling; every sentence of the test
set counts, also long ones; BLEU is of the corpus, where MLBench averaged that of batches; the pairs that do not fill
a step are spread over smaller batches, where MLBench drew some a second time; dropout streams differ between ranks.
"""

from __future__ import annotations

from ..datasets.pairs import bucketed
from ..models.transformer import Transformer, TransformerConfig
from . import recipes
from .base import Setup
from .recipe4 import Recipe4b
from .schedules import inverse_root
from .translation import Translation


class Task4b(Translation):
    """One rank's share of task 4b."""

    def __init__(self, setup: Setup, recipe: Recipe4b | None = None) -> None:
        self.recipe: Recipe4b = recipe or recipes.build("task4b", setup.recipe, setup.changes)
        super().__init__(setup, self.recipe)

    def network(self, vocabulary: int) -> Transformer:
        recipe = self.recipe
        return Transformer(
            TransformerConfig(
                vocabulary=vocabulary,
                width=recipe.width,
                feed_forward=recipe.feed_forward,
                heads=recipe.heads,
                layers=recipe.layers,
                dropout=recipe.dropout,
                dropout_attention=recipe.dropout_attention,
                dropout_relu=recipe.dropout_relu,
            )
        )

    def passes(self) -> int:
        return max(1, self.recipe.tokens_per_step // (self.recipe.tokens_per_rank * self.setup.world_size))

    def epoch_batches(self, epoch: int) -> list[list[int]]:
        group = self.setup.world_size * self.passes()
        return bucketed(self._train, group, self.setup.seed, epoch, tokens=self.recipe.tokens_per_rank)

    def step_weight(self, step: list[list[int]]) -> float:
        """The mean over all pieces of the step."""
        predictions = self._train.target.lengths + 1
        return self.setup.world_size / sum(int(predictions[batch].sum()) for batch in step)

    def rate(self, step: int) -> float:
        return self.recipe.learning_rate * inverse_root(step, self.recipe.warmup_steps)


def create(setup: Setup) -> Task4b:
    """The task, ready on this rank's device."""
    return Task4b(setup)
