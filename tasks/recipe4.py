"""The hyperparameters of the translation tasks 4a and 4b."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Recipe4:
    """What both have; the defaults are MLBench's for 4b, but for the precision: bfloat16 needs no loss scaling."""

    learning_rate: float = 1.976e-3
    """The highest of the schedule."""
    schedule: str = "recipe"
    """`recipe`: as published; else `NAME[:OPTION=VALUE[:…]]`, one of tasks/named_schedules.py."""
    optimiser: str = "recipe"
    """`recipe`: Adam, as published; else one of tasks/optimisers.py, with the two below."""
    momentum: float = 0.9
    """Of an optimiser that has any; Adam's are its betas."""
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-9
    clip_norm: float | None = None
    label_smoothing: float = 0.1
    precision: str = "bfloat16"
    """On GPUs, under autocast; a CPU computes in float32."""
    fused_optimiser: bool = False
    """Adam as one kernel."""
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


@dataclass(frozen=True)
class Recipe4a(Recipe4):
    """Task 4a; the defaults are MLBench's."""

    width: int = 1_024
    layers: int = 4
    dropout: float = 0.2
    init_range: float = 0.1
    pairs_per_step: int = 2_048
    """Of all ranks and passes of one step."""
    most_pairs_per_rank: int = 128
    """In one pass; a rank makes max(1, pairs_per_step / (this x ranks)) of them."""
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    decay_from: float = 0.4
    """Part of all steps after which the rate is cut for the first time."""
    decay_interval: float = 0.05
    decay_steps: int = 4
    decay_factor: float = 0.5
    schedule_epochs: int = 8
    beta2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = 5.0
    beam: int = 5
    length_constant: float = 5.0
    coverage_beta: float = 0.1
    longest_ratio: float = 0.0
    longest_extra: int = 150


@dataclass(frozen=True)
class Recipe4b(Recipe4):
    """Task 4b; the defaults are MLBench's."""

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
    warmup_steps: int = 1_000
    """Linear up to here; from then on times the root of warmup_steps / step."""


RECIPES_4A: Mapping[str, Recipe4a] = MappingProxyType(
    {
        "reference": Recipe4a(),
        "fast": Recipe4a(fused_optimiser=True, most_pairs_per_rank=1_024),
        "smoke": Recipe4a(
            width=128,
            layers=2,
            dropout=0.0,
            # As wide an input to each gate as at width 1,024: 0.1 x root(1,024 / 128). With 0.1 the encoder's outputs
            # differ between pieces by a fifteenth of that, and the attention learns nothing in a smoke run.
            init_range=0.28,
            pairs_per_step=64,
            most_pairs_per_rank=64,
            learning_rate=1.2e-2,
            warmup_steps=40,
            decay_from=0.7,
            decay_interval=0.1,
            schedule_epochs=4,
            beam=1,
            longest_extra=30,
            train_pairs=20_000,
            eval_pairs=150,
        ),
    }
)

RECIPES_4B: Mapping[str, Recipe4b] = MappingProxyType(
    {
        "reference": Recipe4b(),
        "fast": Recipe4b(fused_optimiser=True, tokens_per_rank=32_768),
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
