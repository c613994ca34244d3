"""What the two translation tasks share: batches of like length, the loss of every piece, BLEU over all ranks.

Shapes: B pairs, S source pieces, T target pieces, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
from sentencepiece import SentencePieceProcessor
from torch import Tensor, nn

from ..datasets.pairs import load_pairs, longest_of
from ..datasets.parallel import BEGIN, END, PAD
from ..datasets.share import pieces, share
from . import named_schedules, optimisers
from .base import SPLITS, Batch, Evaluation, Setup
from .beam import Beam, search
from .bleu import CASED_13A, UNCASED_INTL, corpus_bleu
from .compiling import precision_of
from .recipe4 import Recipe4
from .smoothed import label_smoothed

_TRANSLATED_TOGETHER = 64
_SPLITS = {"validation": "valid", "test": "test"}


class Translation:
    """One rank's share of a translation task; what differs between them are the methods that raise here."""

    metric = "BLEU (uncased, intl)"
    splits = SPLITS

    def __init__(self, setup: Setup, recipe: Recipe4) -> None:
        self.setup, self._recipe = setup, recipe
        path = setup.data_path
        self._train = load_pairs(path, "train", recipe.train_pairs)
        self._evaluated = {split: load_pairs(path, name, recipe.eval_pairs) for split, name in _SPLITS.items()}
        self._pieces = SentencePieceProcessor(model_file=str(path / "pieces.model"))
        self._passes = self.passes()
        self.clip_norm = recipe.clip_norm
        words = self._pieces.vocab_size()
        padded = -(-words // recipe.vocabulary_multiple) * recipe.vocabulary_multiple
        self.model: nn.Module = self.network(padded).to(setup.device)
        # On a CPU bfloat16 has no use here: autocast is for GPUs.
        self._precision = recipe.precision if setup.device.type == "cuda" else "float32"
        self._optimiser = self._made_optimiser()
        self._steps = 0
        self._named = None if recipe.schedule == named_schedules.RECIPES_OWN else named_schedules.parse(recipe.schedule)

    def _made_optimiser(self) -> Any:
        recipe, parameters = self._recipe, self.model.parameters()
        if recipe.optimiser != optimisers.RECIPES_OWN:
            common: Any = {"momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
            return optimisers.make(recipe.optimiser, self.model, lr=recipe.learning_rate, **common)
        betas, fused = (recipe.beta1, recipe.beta2), recipe.fused_optimiser or None
        return torch.optim.Adam(
            parameters, lr=0.0, betas=betas, eps=recipe.epsilon, weight_decay=recipe.weight_decay, fused=fused
        )

    # --- what differs -------------------------------------------------------------------------------------------

    def network(self, vocabulary: int) -> nn.Module:
        """The model, for a vocabulary of this size."""
        raise NotImplementedError

    def passes(self) -> int:
        """Batches of one rank in one step."""
        raise NotImplementedError

    def epoch_batches(self, epoch: int) -> list[list[int]]:
        """All ranks' batches of an epoch, a multiple of ranks x passes many."""
        raise NotImplementedError

    def step_weight(self, step: list[list[int]]) -> float:
        """What each summed loss of a step counts, before the average over ranks."""
        raise NotImplementedError

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 1, as published."""
        raise NotImplementedError

    # --- data ---------------------------------------------------------------------------------------------------

    def batches(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """A step's batches are dealt to the ranks."""
        self.model.train()
        world, rank = self.setup.world_size, self.setup.rank
        group = world * self._passes
        all_batches = self.epoch_batches(epoch)
        for start in range(skip * group, len(all_batches), group):
            step = all_batches[start : start + group]
            weight = self.step_weight(step)
            parts = tuple(self._part(chosen, weight) for chosen in step[rank::world])
            if self._passes == 1:
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
        summed = label_smoothed(scores_BTV.flatten(0, 1), next_BT.flatten(), self._recipe.label_smoothing, PAD)
        # Reported is the mean over this rank's pieces; a step of several passes adds up their parts of it.
        return summed * batch.weight, summed.detach() / (batch.tokens * self._passes)

    # --- optimiser ----------------------------------------------------------------------------------------------

    def optimise(self) -> None:
        self._steps += 1
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=False)

    @cached_property
    def _steps_per_epoch(self) -> int:
        """Of the first epoch: how many batches of like lengths another comes to may differ by a few."""
        return max(1, len(self.epoch_batches(1)) // (self.setup.world_size * self._passes))

    def _rate(self) -> float:
        if not self._named:
            return self.rate(self._steps)
        return float(self._recipe.learning_rate * self._named.factor(self._steps - 1, self._steps_per_epoch))

    def end_epoch(self, quality: float) -> str | None:  # noqa: ARG002  # the schedule goes by steps alone
        return None

    # --- evaluation ---------------------------------------------------------------------------------------------

    def averages(self) -> AbstractContextManager[bool]:
        return optimisers.averages(self._optimiser)

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

    @torch.no_grad()
    def translate(self, source_BS: Tensor) -> list[str]:
        """Text of the best translation of each source."""
        recipe = self._recipe
        beam = Beam(recipe.beam, recipe.length_alpha, recipe.length_constant, recipe.coverage_beta, BEGIN, END)
        real_BS = source_BS != PAD
        longest = [int(recipe.longest_ratio * n) + recipe.longest_extra for n in real_BS.sum(1).tolist()]
        device = self.setup.device
        with precision_of(device, self._precision):
            found = search(
                self.model,  # type: ignore[arg-type]  # both models are decoders
                source_BS.to(device),
                real_BS.to(device),
                longest,
                beam,
            )
        size = self._pieces.vocab_size()
        texts: list[str] = self._pieces.decode([[i for i in ids if i < size] for ids in found])
        return texts

    # --- facts and state ----------------------------------------------------------------------------------------

    def hyperparameters(self) -> Mapping[str, object]:
        recipe = self._recipe
        return {
            "passes_per_step": self._passes,
            "train_samples": len(self._train),
            "eval_samples": len(self._evaluated["validation"]),
            "opt_name": "adam" if recipe.optimiser == optimisers.RECIPES_OWN else recipe.optimiser,
            "opt_base_learning_rate": recipe.learning_rate,
            "max_sequence_length": longest_of(self.setup.data_path),
            "max_sequence_length_method": "discard",
            **asdict(recipe),
        }

    def state(self) -> dict[str, object]:
        return {"model": self.model.state_dict(), "optimiser": self._optimiser.state_dict(), "steps": self._steps}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._steps = state["steps"]
