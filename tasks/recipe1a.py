"""The hyperparameters of task 1a."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Recipe1a:
    """The defaults are MLBench's, unchanged (its all-reduce reference of 2021)."""

    depth: int = 20
    width: int = 16
    batch_per_rank: int = 128
    """Images of each rank; the global batch grows with the ranks."""
    schedule: str = "plateau"
    """`plateau`: linear warm-up over log2(ranks) epochs, then halved where validation loss no longer falls.
    `one-cycle`: linear up over `peak_at` of `cycle_epochs`, linear down to zero over the rest, step by step.
    `NAME[:OPTION=VALUE[:…]]`: one of tasks/named_schedules.py."""
    learning_rate: float = 0.02
    """For one rank; multiplied by the number of ranks. Never falls below the rate for one rank (plateau)."""
    as_if_ranks: int | None = None
    """Rate and warm-up of so many ranks, whatever their number; None: of as many as there are."""
    plateau_factor: float = 0.5
    plateau_patience: int = 1
    plateau_threshold: float = 0.01
    """Absolute: a smaller fall of the validation loss is none."""
    cycle_epochs: float = 0.0
    peak_at: float = 0.0
    optimiser: str = "recipe"
    """`recipe`: SGD, as published; else one of tasks/optimisers.py, with the rates, momentum and decay given here."""
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    crop_padding: int = 4
    flip: bool = True
    channels_last: bool = False
    precision: str = "float32"
    """`bfloat16`: convolutions and the linear layer under autocast; weights stay float32."""
    fused_optimiser: bool = False
    compile: str = "never"
    """Through torch.compile: `never`, `gpu` or `always`. With bfloat16 and channels last on a CPU it was slower than
    without, and starts slowly. It is done before the run starts, on images of zeros."""
    data_on_device: bool = False
    """The images lie on the rank's device, and are cropped and mirrored there."""
    train_images: int | None = None
    """Use only so many images to train on; None: all that are not held out."""
    eval_images: int | None = None
    """Likewise for validation and test."""


RECIPES_1A: Mapping[str, Recipe1a] = MappingProxyType(
    {
        "reference": Recipe1a(),
        # Of the settings tried on an H200, the fastest to 80 % that every seed reached (benchmarks/README.md).
        "fast": Recipe1a(
            batch_per_rank=512,
            schedule="one-cycle",
            learning_rate=1.0,
            cycle_epochs=5.0,
            peak_at=0.25,
            nesterov=True,
            weight_decay=5e-4,
            crop_padding=2,
            channels_last=True,
            precision="bfloat16",
            fused_optimiser=True,
            compile="gpu",
            data_on_device=True,
        ),
        "smoke": Recipe1a(
            depth=8,
            width=8,
            batch_per_rank=64,
            schedule="one-cycle",
            learning_rate=0.1,
            cycle_epochs=6.0,
            peak_at=0.25,
            nesterov=True,
            weight_decay=5e-4,
            train_images=15_000,
            eval_images=2_000,
        ),
    }
)
