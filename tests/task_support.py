"""Small data sets in the prepared form, and tasks of one process that stand for several ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlb.datasets import store
from mlb.datasets.files import exclusive
from mlb.datasets.store import Recipe
from mlb.tasks.base import Setup
from torch import Tensor

Arrays = dict[str, np.ndarray]


def prepared(root: Path, arrays: Arrays, name: str = "small") -> Path:
    """A prepared data set of these arrays."""
    recipe = Recipe(name, {})
    with exclusive(store.prepared_root(root)), store.writing(root, recipe, origin="made by a test") as writing:
        writing.unit = "samples"
        for array, values in arrays.items():
            writing.array(array, values.dtype.str, values.shape[1:])
            writing.append(array, values)
    return recipe.folder(root)


def setup_of(path: Path, rank: int = 0, world: int = 1, *, seed: int = 7) -> Setup:
    """A rank alone: sums over ranks are its own."""
    return Setup("smoke", "reference", path, seed, rank, world, torch.device("cpu"), lambda total: total)


def evaluate_as(world: int, make: Callable[[int, int], Any], like: Any, split: str) -> tuple[Any, list[Tensor]]:
    """Rank 0's evaluation with the sums of `world` ranks, all with the weights of `like`; and the ranks' totals."""
    totals: list[Tensor] = []
    for rank in range(world):
        task = make(rank, world)
        task.load_state(like.state())

        def keep(values: Tensor) -> Tensor:
            if values.numel() <= 8:  # not the buffers of batch normalisation, equal here on all ranks
                totals.append(values.clone())
                return values.clamp_min(1e-9)
            return values.mul_(world)

        task.setup = replace(task.setup, sum_over_ranks=keep)
        task.evaluate(split)
    first = make(0, world)
    first.load_state(like.state())
    whole = torch.stack(totals).sum(0)
    first.setup = replace(
        first.setup, sum_over_ranks=lambda v: v.copy_(whole) if v.numel() == whole.numel() else v.mul_(world)
    )
    return first.evaluate(split), totals
