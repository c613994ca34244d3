"""The hyperparameters of task 2a."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Recipe2a:
    """The defaults are MLBench's, unchanged."""

    batch_per_rank: int = 100
    """Rows of each rank; the global batch grows with the ranks."""
    optimiser: str = "recipe"
    """`recipe`: SGD, as published; else one of tasks/optimisers.py, at this recipe's rates."""
    learning_rate: float = 4.0
    """For one rank; multiplied by the number of ranks, up to `scaled_ranks`. Never falls below it."""
    scaled_ranks: int = 16
    schedule: str = "plateau"
    """`plateau`: cut where validation loss no longer falls.
    `NAME[:OPTION=VALUE[:…]]`: one of tasks/named_schedules.py."""
    plateau_factor: float = 0.75
    plateau_patience: int = 0
    plateau_threshold: float = 0.01
    """Absolute: a smaller fall of the validation loss is none."""
    l2: float = 2.5e-6
    """The loss gains l2 / 2 times the sum of the squared weights."""


RECIPES_2A: Mapping[str, Recipe2a] = MappingProxyType(
    {
        "reference": Recipe2a(),
        "smoke": Recipe2a(learning_rate=0.1),
    }
)
