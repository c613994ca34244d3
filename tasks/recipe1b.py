"""The hyperparameters of task 1b.

MLBench has "TODO" for its ImageNet task. The reference is therefore MLPerf's: the command of its ResNet reference for
a batch of 4,096 (mlcommons/training, retired_benchmarks/resnet-tf2/README.md), whose ten public runs reached 75.9 %
after 39 to 42 epochs (`resnet_ref_4096` of MLCommons' checker, training 4.0.0). docs/decisions/0045 says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Recipe1b:
    """The defaults are MLPerf's for a global batch of 4,096, unchanged."""

    blocks: str = "3-4-6-3"
    """Bottleneck blocks of each stage."""
    width: int = 64
    classes: int = 1_000
    images_per_step: int = 4_096
    """Of all ranks together: the same problem for any number of them."""
    images_per_pass: int = 64
    """What batch normalisation sees at a time (MLPerf's model_bn_span); a rank goes through its share in passes."""
    optimiser: str = "lars"
    """`lars`, or `sgd`: torch's, with momentum, decaying nothing but the weights of convolutions and of the linear
    layer; else one of tasks/optimisers.py, with the rates, momentum and decay given here."""
    schedule: str = "polynomial"
    """`polynomial`: linear up over `warmup_epochs`, then the power `poly_power` of what is left of `decay_steps`.
    `one-cycle`: linear up over `warmup_epochs` of `cycle_epochs`, linear down to zero over the rest, step by step.
    `NAME[:OPTION=VALUE[:…]]`: one of tasks/named_schedules.py."""
    learning_rate: float = 10.0
    end_learning_rate: float = 1e-4
    warmup_epochs: float = 5.0
    decay_steps: int = 13_137
    """42 epochs of 312.8 steps."""
    poly_power: float = 2.0
    cycle_epochs: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 2e-4
    lars_eta: float = 0.001
    lars_epsilon: float = 0.0
    label_smoothing: float = 0.1
    zero_last_scale: bool = True
    side: int = 224
    """Pixels of the square that is trained on at the end of the training."""
    first_side: int = 224
    """At its beginning; it grows in steps of 32 between `grows_from` and `grows_to`."""
    grows_from: float = 0.0
    grows_to: float = 0.0
    """Epochs."""
    eval_resized: int = 256
    eval_side: int = 224
    crop_area: float = 0.08
    """Smallest part of an image that a crop takes, as torchvision and MLBench's unfinished task have it."""
    channels_last: bool = False
    precision: str = "float32"
    """`bfloat16`: convolutions and the linear layer under autocast; weights stay float32."""
    fused_optimiser: bool = False
    """Of torch's SGD alone."""
    compile: str = "never"
    """Through torch.compile: `never`, `gpu` or `always`."""


RECIPES_1B: Mapping[str, Recipe1b] = MappingProxyType(
    {
        "reference": Recipe1b(),
        "fast": Recipe1b(
            images_per_step=1_024,
            images_per_pass=256,
            optimiser="sgd",
            schedule="one-cycle",
            learning_rate=2.0,
            warmup_epochs=2.0,
            cycle_epochs=28.0,
            nesterov=True,
            weight_decay=5e-5,
            side=192,
            first_side=128,
            grows_from=2.0,
            grows_to=22.0,
            crop_area=0.25,
            channels_last=True,
            precision="bfloat16",
            fused_optimiser=True,
            compile="gpu",
        ),
        "smoke": Recipe1b(
            blocks="1-1-1-1",
            width=12,
            classes=8,
            images_per_step=64,
            images_per_pass=32,
            optimiser="sgd",
            schedule="one-cycle",
            learning_rate=0.1,
            warmup_epochs=1.0,
            cycle_epochs=6.0,
            nesterov=True,
            weight_decay=5e-4,
            label_smoothing=0.0,
            side=48,
            first_side=48,
            eval_resized=56,
            eval_side=48,
            crop_area=0.35,
        ),
    }
)
"""`smoke` has two ranks in mind: with more, a pass is smaller."""
