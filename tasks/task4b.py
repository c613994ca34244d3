"""Task 4b: the Transformer, big and normalised first, from English to German, with MLBench's values.

Measured here: see benchmarks/README.md.

The quality is uncased BLEU with international tokenisation, of the whole of newstest2014 (the smoke goal: of Multi30k's
validation split), as MLPerf defined the target of 25.0. Nothing of the training looks at it but the clock. sacrebleu's
default, cased and 13a, is told beside it, each with its signature. newstest2013 is translated once, at the end.

Stated differences from MLBench: subwords by sentencepiece, learned from the training text (MLBench took a fixed list);
bfloat16 under autocast on GPUs, float32 on CPUs, where it had float16 with loss scaling; every sentence of the test
set counts, also long ones; BLEU is of the corpus, where MLBench averaged that of batches; the pairs that do not fill
a step are spread over smaller batches, where MLBench drew some a second time; dropout streams differ between ranks.

Shapes: B pairs, S source pieces, T target pieces, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch
from sentencepiece import SentencePieceProcessor
from torch import Tensor
from torch.nn import functional as F

from ..datasets.pairs import bucketed, load_pairs
from ..datasets.parallel import BEGIN, END, PAD
from ..datasets.share import pieces, share
from ..models.transformer import Transformer, TransformerConfig
from . import recipes
from .base import Batch, Evaluation, Setup
from .beam import Beam, search
from .bleu import CASED_13A, UNCASED_INTL, corpus_bleu
from .compiling import precision_of
from .recipe4 import Recipe4b
from .schedules import inverse_root

_TRANSLATED_TOGETHER = 64
_SPLITS = {"validation": "valid", "test": "test"}


class Task4b:
    """One rank's share of task 4b."""

    metric = "BLEU (uncased, intl)"

    def __init__(self, setup: Setup, recipe: Recipe4b | None = None) -> None:
        self.setup = setup
        self.recipe = recipe or recipes.build("task4b", setup.recipe, setup.changes)
        recipe, path = self.recipe, setup.data_path
        self._train = load_pairs(path, "train", recipe.train_pairs)
        self._evaluated = {split: load_pairs(path, name, recipe.eval_pairs) for split, name in _SPLITS.items()}
        self._pieces = SentencePieceProcessor(model_file=str(path / "pieces.model"))
        self._passes = max(1, recipe.tokens_per_step // (recipe.tokens_per_rank * setup.world_size))
        self.model = Transformer(_config(recipe, self._pieces.vocab_size())).to(setup.device)
        # On a CPU bfloat16 has no use here: autocast is for GPUs, and for who sets it.
        self._precision = recipe.precision if setup.device.type == "cuda" else "float32"
        betas = recipe.beta1, recipe.beta2
        self._optimiser = torch.optim.Adam(self.model.parameters(), lr=0.0, betas=betas, eps=recipe.epsilon)
        self._steps = 0

    # --- data ---------------------------------------------------------------------------------------------------

    def batches(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """A step's batches are dealt to the ranks; each weighs its predictions against those of the whole step."""
        self.model.train()
        world, rank, passes = self.setup.world_size, self.setup.rank, self._passes
        group = world * passes
        all_batches = bucketed(self._train, self.recipe.tokens_per_rank, group, self.setup.seed, epoch)
        predictions = self._train.target.lengths + 1
        for start in range(skip * group, len(all_batches), group):
            step = all_batches[start : start + group]
            total = int(sum(int(predictions[batch].sum()) for batch in step))
            parts = tuple(self._part(chosen, world / total) for chosen in step[rank::world])
            if passes == 1:
                yield parts[0]
            else:
                samples, tokens = sum(p.samples for p in parts), sum(p.tokens for p in parts)
                yield Batch(samples, tokens, (), parts=parts)

    def _part(self, chosen: list[int], weight: float) -> Batch:
        target_BT, next_BT = self._train.targets(chosen)
        tensors = (self._train.sources(chosen), target_BT, next_BT)
        return Batch(len(chosen), int((next_BT != PAD).sum()), tensors, weight)

    def to_device(self, batch: Batch) -> Batch:
        tensors = tuple(t.to(self.setup.device, non_blocking=True) for t in batch.tensors)
        parts = tuple(self.to_device(part) for part in batch.parts)
        return Batch(batch.samples, batch.tokens, tensors, batch.weight, parts)

    # --- model and loss -----------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Label-smoothed cross-entropy of every target piece, over the number of all ranks' pieces in the step."""
        source_BS, target_BT, next_BT = batch.tensors
        with precision_of(self.setup.device, self._precision):
            scores_BTV = self.model(source_BS, source_BS != PAD, target_BT)
        summed = F.cross_entropy(
            scores_BTV.flatten(0, 1).float(),
            next_BT.flatten(),
            ignore_index=PAD,
            reduction="sum",
            label_smoothing=self.recipe.label_smoothing,
        )
        # Reported is the mean over this rank's pieces; a step of several passes adds up their parts of it.
        return summed * batch.weight, summed.detach() / (batch.tokens * self._passes)

    # --- optimiser ----------------------------------------------------------------------------------------------

    def optimise(self) -> None:
        self._steps += 1
        for group in self._optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * inverse_root(self._steps, self.recipe.warmup_steps)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=False)

    def end_epoch(self, quality: float) -> str | None:  # noqa: ARG002  # the schedule goes by steps alone
        return None

    # --- evaluation ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, split: str) -> Evaluation:
        """BLEU of the split by beam search, each rank translating a part of it."""
        pairs, name, setup = self._evaluated[split], _SPLITS[split], self.setup
        first, end = share(0, len(pairs), setup.rank, setup.world_size)
        mine = sorted(range(first, end), key=lambda i: int(pairs.source.lengths[i]))
        lines = (setup.data_path / f"{name}.target.txt").read_text().split("\n")
        self.model.eval()
        translations = []
        for a, b in pieces(0, len(mine), _TRANSLATED_TOGETHER):
            translations += self.translate(pairs.sources(mine[a:b]))
        self.model.train()
        references = [lines[i] for i in mine]
        uncased, cased = (
            corpus_bleu(translations, references, how, setup.sum_over_ranks, setup.device)
            for how in (UNCASED_INTL, CASED_13A)
        )
        details: dict[str, float | str] = {
            "BLEU (cased, 13a)": cased.value,
            "signature (uncased, intl)": uncased.signature,
            "signature (cased, 13a)": cased.signature,
        }
        return Evaluation(uncased.value, len(pairs), details)

    def translate(self, source_BS: Tensor) -> list[str]:
        """Text of the best translation of each source."""
        recipe = self.recipe
        beam = Beam(recipe.beam, recipe.length_alpha, recipe.length_constant, recipe.coverage_beta, BEGIN, END)
        real_BS = source_BS != PAD
        longest = [int(recipe.longest_ratio * n) + recipe.longest_extra for n in real_BS.sum(1).tolist()]
        device = self.setup.device
        with precision_of(device, self._precision):
            found = search(self.model, source_BS.to(device), real_BS.to(device), longest, beam)
        size = self._pieces.vocab_size()
        texts: list[str] = self._pieces.decode([[i for i in ids if i < size] for ids in found])
        return texts

    # --- facts and state ----------------------------------------------------------------------------------------

    def hyperparameters(self) -> Mapping[str, object]:
        recipe = self.recipe
        return {
            "global_batch_size": recipe.tokens_per_rank * self.setup.world_size * self._passes,
            "train_samples": len(self._train),
            "eval_samples": len(self._evaluated["validation"]),
            "opt_name": "adam",
            "opt_base_learning_rate": recipe.learning_rate,
            **asdict(recipe),
            "vocabulary": self.model.config.vocabulary,
        }

    def state(self) -> dict[str, object]:
        return {"model": self.model.state_dict(), "optimiser": self._optimiser.state_dict(), "steps": self._steps}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._steps = state["steps"]


def _config(recipe: Recipe4b, words: int) -> TransformerConfig:
    padded = -(-words // recipe.vocabulary_multiple) * recipe.vocabulary_multiple
    return TransformerConfig(
        vocabulary=padded,
        width=recipe.width,
        feed_forward=recipe.feed_forward,
        heads=recipe.heads,
        layers=recipe.layers,
        dropout=recipe.dropout,
        dropout_attention=recipe.dropout_attention,
        dropout_relu=recipe.dropout_relu,
    )


def create(setup: Setup) -> Task4b:
    """The task, ready on this rank's device."""
    return Task4b(setup)
