"""The hyperparameters of the translation task 4b."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Recipe4b:
    """The defaults are MLBench's but for the precision: bfloat16, which needs no loss scaling, where it had float16."""

    width: int = 1_024
    feed_forward: int = 4_096
    heads: int = 16
    layers: int = 6
    dropout: float = 0.1
    dropout_attention: float = 0.1
    dropout_relu: float = 0.1
    tokens_per_rank: int = 8_192
    """Pieces a side, padding included, of one pass on one rank."""
    tokens_per_step: int = 131_072
    """Of all ranks and passes of one step: each rank makes max(1, this / (tokens_per_rank x ranks)) passes."""
    learning_rate: float = 1.976e-3
    """Reached after `warmup_steps`, linearly; from then on times the root of warmup_steps / step."""
    warmup_steps: int = 1_000
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-9
    label_smoothing: float = 0.1
    precision: str = "bfloat16"
    vocabulary_multiple: int = 8
    """The vocabulary is padded to a multiple of this."""
    beam: int = 4
    length_alpha: float = 0.6
    length_constant: float = 0.0
    coverage_beta: float = 0.0
    longest_ratio: float = 1.0
    longest_extra: int = 50
    """A translation has at most longest_ratio x source pieces + this many pieces."""
    train_pairs: int | None = None
    """Use only so many pairs to train on; None: all."""
    eval_pairs: int | None = None
    """Likewise for validation and test."""


RECIPES_4B: Mapping[str, Recipe4b] = MappingProxyType(
    {
        "reference": Recipe4b(),
        "smoke": Recipe4b(
            width=128,
            feed_forward=256,
            heads=4,
            layers=2,
            dropout=0.05,
            dropout_attention=0.0,
            dropout_relu=0.0,
            tokens_per_rank=1_500,
            tokens_per_step=3_000,
            learning_rate=3e-3,
            warmup_steps=60,
            precision="float32",
            beam=1,
            longest_extra=10,
            train_pairs=20_000,
            eval_pairs=150,
        ),
    }
)
