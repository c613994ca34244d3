"""The hyperparameters of task 3a."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Recipe3a:
    """The defaults are MLBench's, unchanged."""

    embedding: int = 400
    hidden: int = 1_150
    layers: int = 3
    dropout_output: float = 0.4
    dropout_hidden: float = 0.2
    dropout_input: float = 0.65
    dropout_embedding: float = 0.1
    dropout_weights: float = 0.5
    batch_per_rank: int = 20
    """Columns of text of each rank; the global batch grows with the ranks."""
    bptt: int = 70
    """Mean length of a training sequence; also the fixed length of an evaluation's."""
    bptt_std: float = 5.0
    bptt_min: int = 5
    bptt_half_probability: float = 0.05
    """How often the mean length is halved."""
    learning_rate: float = 15.0
    """For one rank; multiplied by the square root of the number of ranks, and by length / bptt in each step."""
    schedule: str = "constant"
    """`constant`: as published. `one-cycle`: linear up over `peak_at` of `cycle_epochs`, linear down to zero over the
    rest, step by step. `NAME[:OPTION=VALUE[:…]]`: one of tasks/named_schedules.py."""
    cycle_epochs: float = 0.0
    peak_at: float = 0.0
    optimiser: str = "recipe"
    """`recipe`: SGD, then ASGD (NT-ASGD), as published; else one of tasks/optimisers.py, to the end."""
    momentum: float = 0.9
    """Of an optimiser by name that has any; the recipe's own have none."""
    weight_decay: float = 1.2e-6
    clip_norm: float = 0.25
    activation_regularisation: float = 2.0
    temporal_regularisation: float = 1.0
    nonmono: int = 5
    """NT-ASGD: averaging starts once validation has not improved for this many epochs."""
    eval_columns: int = 10
    precision: str = "float32"
    """`bfloat16`: the matrix products of training under autocast, on GPUs alone; weights and evaluations: float32."""
    fused_optimiser: bool = False
    """SGD as one kernel; ASGD, from the switch on, has none."""
    dynamic_below: float = 76.0
    """Goal `full`: dynamic evaluation is tried once the static perplexity is below this (it gains a quarter to a
    third). The four values below are those of Krause et al. 2017 for this model and text."""
    dynamic_bptt: int = 5
    dynamic_learning_rate: float = 0.002
    dynamic_decay: float = 0.02
    dynamic_epsilon: float = 0.001
    dynamic_statistics: int = 200
    """Training sequences over which the mean square of the gradients is taken; Krause et al. take all of them."""
    train_tokens: int | None = None
    """Use only so many tokens of the training split; None: all."""
    eval_tokens: int | None = None
    """Likewise for validation and test."""


RECIPES_3A: Mapping[str, Recipe3a] = MappingProxyType(
    {
        "reference": Recipe3a(),
        # 60 epochs instead of 370: AdamW and one cycle (fast.ai 2018 needed 90 for this model and text).
        "fast": Recipe3a(
            batch_per_rank=80,
            schedule="one-cycle",
            cycle_epochs=60.0,
            peak_at=0.3,
            optimiser="adamw",
            learning_rate=3e-3,
            weight_decay=0.1,
            eval_columns=80,
            precision="bfloat16",
            fused_optimiser=True,
        ),
        "smoke": Recipe3a(
            embedding=128,
            hidden=256,
            layers=2,
            dropout_output=0.1,
            dropout_hidden=0.1,
            dropout_input=0.1,
            dropout_embedding=0.0,
            dropout_weights=0.1,
            batch_per_rank=10,
            bptt=35,
            learning_rate=10.0,
            train_tokens=200_000,
            eval_tokens=40_000,
        ),
    }
)
