"""Which values of a hyperparameter anybody can train with: what lies outside fails on the nodes, or trains nothing.

The bounds are wide on purpose: they are to catch a slip of the keyboard before a fleet is billed for it, and say
nothing about what trains well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ..option import Bounds


def fault_of(task: str, name: str, value: object) -> str | None:
    """What is wrong with a hyperparameter's value, in words that say what is valid; None where nothing is."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        bounds = bounds_of(task, name)
        return None if bounds.hold(value) else f"It has to be {bounds}."
    if name == "blocks" and not re.fullmatch(r"[1-9]\d?(-[1-9]\d?){0,5}", str(value)):
        return "It is the number of blocks of each stage: 3-4-6-3."
    return None


def bounds_of(task: str, name: str) -> Bounds:
    """Raises KeyError: the number has none."""
    return _OF_TASK.get((task, name)) or _BOUNDS[name]


def fault_together(recipe: Any) -> str | None:
    """What of a recipe does not go together, in words; None where all does."""
    return next((words for holds, words in _TOGETHER if not holds(recipe)), None)


_MANY: Final = Bounds(1, 1e12)
_SIZE: Final = Bounds(1, 65_536)
_EPOCHS: Final = Bounds(0, 1e6)
_RATE: Final = Bounds(0, 10_000)
"""0 trains nothing, which is what some measurements ask for."""
_PART: Final = Bounds(0, 1)
_FACTOR: Final = Bounds(0, 1, above_low=True)
_BELOW_ONE: Final = Bounds(0, 0.99999)
_WEIGHT: Final = Bounds(0, 10_000)
_SIDE: Final = Bounds(8, 4_096)

_BOUNDS: Final[Mapping[str, Bounds]] = MappingProxyType(
    {
        # networks
        **dict.fromkeys(("width", "embedding", "hidden", "feed_forward", "vocabulary_multiple"), _SIZE),
        "layers": Bounds(1, 256),
        "heads": Bounds(1, 1_024),
        "depth": Bounds(8, 1_202),
        "classes": Bounds(2, 1e6),
        "init_range": Bounds(0, 100, above_low=True),
        # what a step holds
        **dict.fromkeys(("batch_per_rank", "images_per_pass", "most_pairs_per_rank", "eval_columns"), _SIZE),
        **dict.fromkeys(("images_per_step", "pairs_per_step"), Bounds(1, 1e7)),
        **dict.fromkeys(("tokens_per_step", "tokens_per_rank"), Bounds(1, 1e9)),
        **dict.fromkeys(("bptt", "bptt_min", "dynamic_bptt"), Bounds(1, 100_000)),
        "bptt_std": Bounds(0, 100_000),
        "bptt_half_probability": _PART,
        # the data
        **dict.fromkeys(
            ("train_images", "eval_images", "train_tokens", "eval_tokens", "train_pairs", "eval_pairs"), _MANY
        ),
        **dict.fromkeys(("side", "first_side", "eval_resized", "eval_side"), _SIDE),
        "crop_padding": Bounds(0, 32),
        "crop_area": _FACTOR,
        # rates and their course
        **dict.fromkeys(("learning_rate", "end_learning_rate", "dynamic_learning_rate"), _RATE),
        **dict.fromkeys(("as_if_ranks", "scaled_ranks"), Bounds(1, 1e6)),
        **dict.fromkeys(("warmup_epochs", "cycle_epochs", "grows_from", "grows_to", "plateau_patience"), _EPOCHS),
        "schedule_epochs": Bounds(1, 1e6),
        "peak_at": _BELOW_ONE,
        "warmup_steps": Bounds(1, 1e9),
        "decay_steps": Bounds(1, 1e9),
        "decay_from": _PART,
        **dict.fromkeys(("plateau_factor", "decay_factor", "decay_interval"), _FACTOR),
        "plateau_threshold": _WEIGHT,
        "poly_power": Bounds(0, 100),
        "nonmono": Bounds(1, 1e6),
        # optimisers
        **dict.fromkeys(("momentum", "beta1", "beta2"), _BELOW_ONE),
        **dict.fromkeys(("weight_decay", "l2"), Bounds(0, 100)),
        **dict.fromkeys(("epsilon", "lars_epsilon"), _PART),
        "lars_eta": _FACTOR,
        "clip_norm": Bounds(0, 1e6, above_low=True),
        # what keeps a network from learning by heart
        **dict.fromkeys(
            (
                "dropout", "dropout_attention", "dropout_relu", "dropout_output", "dropout_hidden", "dropout_input",
                "dropout_embedding", "dropout_weights", "label_smoothing",
            ),
            _BELOW_ONE,
        ),
        **dict.fromkeys(("activation_regularisation", "temporal_regularisation"), _WEIGHT),
        # evaluations
        "dynamic_below": Bounds(0, 1e9),
        "dynamic_decay": _PART,
        "dynamic_epsilon": _FACTOR,
        "dynamic_statistics": Bounds(1, 1e9),
        "beam": Bounds(1, 1_000),
        **dict.fromkeys(("length_alpha", "length_constant", "coverage_beta", "longest_ratio"), _WEIGHT),
        "longest_extra": Bounds(0, 100_000),
    }
)  # fmt: skip

_OF_TASK: Final[Mapping[tuple[str, str], Bounds]] = MappingProxyType(
    {
        # The number of cuts of the rate: there may be none.
        ("task4a", "decay_steps"): Bounds(0, 1e6),
        ("task4a", "warmup_steps"): Bounds(0, 1e9),
    }
)

_TOGETHER: Final[tuple[tuple[Callable[[Any], bool], str], ...]] = (
    (lambda r: not hasattr(r, "depth") or r.depth % 6 == 2, "depth has to be 6 n + 2: 8, 14, 20, 32, 44, 56, ..."),
    (lambda r: not hasattr(r, "heads") or r.width % r.heads == 0, "width has to be a multiple of heads."),
    (
        lambda r: r.schedule != "one-cycle" or getattr(r, "cycle_epochs", 1) > 0,
        "the schedule one-cycle needs cycle_epochs above 0.",
    ),
)
