"""The schedules that `--set schedule=NAME[:OPTION=VALUE[:…]]` may name. Needs no torch.

They are MLBench's (mlbench-core, lr_scheduler/pytorch/lr.py, and its TensorFlow `manual_stepping`), with lengths in
epochs: factors of the recipe's rate, which is the highest of the schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from ..errors import UsageError, did_you_mean
from ..option import Option, Options, options_in_words, read_named
from .schedules import (
    inverse_root,
    linear_warmup,
    multistep,
    poly_decay,
    root_decay,
    shifted_decay,
    stepping,
    time_decay,
    warmup_and_halvings,
)


@dataclass(frozen=True)
class ScheduleInfo:
    """One schedule that may be named."""

    about: str
    options: tuple[Option, ...]
    factor: Callable[[Mapping[str, Any], float], float]
    """Of the options and of the epochs done, or of the steps done."""
    in_steps: bool = False
    unfit: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    """What is wrong with options that are valid one by one; None if nothing is."""


@dataclass(frozen=True)
class Schedule:
    """A schedule with all its options: what `--set schedule=NAME[:OPTION=VALUE[:…]]` says."""

    name: str
    options: Options

    def factor(self, steps: float, steps_per_epoch: float) -> float:
        """The factor of the recipe's learning rate for the step after so many, of which an epoch has so many."""
        info = SCHEDULES[self.name]
        return info.factor(self.options, steps if info.in_steps else steps / steps_per_epoch)


RECIPES_OWN: Final = "recipe"
"""The schedule that the recipe was published with, where it has no other name."""

OWN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "task1a": ("plateau", "one-cycle"),
        "task1b": ("polynomial", "one-cycle"),
        "task2a": ("plateau",),
        "task3a": ("constant", "one-cycle"),
        "task4a": (RECIPES_OWN,),
        "task4b": (RECIPES_OWN,),
    }
)
"""What a task's recipe itself may say, with lengths and factors that are fields of it."""


def named(task: str, text: str) -> Schedule | None:
    """The schedule of a recipe's `schedule`; None where it is one of the task's own.

    Raises:
        UsageError: it is neither; says what is valid.
    """
    if text in OWN[task]:
        return None
    name = text.partition(":")[0]
    if name not in SCHEDULES:
        valid = (*OWN[task], *(one for one in SCHEDULES if one not in OWN[task]))
        raise UsageError(
            f"{task} has no schedule {name!r}.{did_you_mean(name, valid)}", fix=f"Schedules: {', '.join(valid)}."
        )
    return parse(text)


def parse(text: str) -> Schedule:
    """What `NAME[:OPTION=VALUE[:…]]` means.

    Raises:
        UsageError: no such schedule or option, or values that cannot be; says what is valid.
    """
    name, options = read_named("schedule", text, {name: info.options for name, info in SCHEDULES.items()})
    if trouble := SCHEDULES[name].unfit(options):
        raise UsageError(
            f"The schedule {text!r} cannot be: {trouble}.", fix=options_in_words(name, SCHEDULES[name].options)
        )
    return Schedule(name, options)


@lru_cache
def numbers(text: str) -> tuple[float, ...]:
    """The numbers in `30+60.5`, which rise from above 0.

    Raises:
        ValueError: says what is valid.
    """
    found = factors(text)
    if any(b <= a for a, b in zip((0.0, *found), found, strict=False)):
        raise ValueError(_RISING)
    return found


@lru_cache
def factors(text: str) -> tuple[float, ...]:
    """The numbers in `1+0.1+0`, none below 0; raises as `numbers`."""
    try:
        found = tuple(float(word) for word in text.split("+"))
    except ValueError:
        raise ValueError(_RISING) from None
    if not all(0 <= number < math.inf for number in found):
        raise ValueError(_RISING)
    return found


_RISING: Final = "numbers from 0 with + between, such as 30+60; those that are epochs rise from above 0"


def _late(options: Mapping[str, Any]) -> str | None:
    warmup, first = options["warmup"], numbers(options["milestones"])[0]
    return f"the warm-up of {warmup:g} epochs reaches the first milestone, {first:g}" if warmup >= first else None


def _uneven(options: Mapping[str, Any]) -> str | None:
    boundaries, found = len(numbers(options["boundaries"])), len(factors(options["factors"]))
    return None if found == boundaries + 1 else f"{boundaries} boundaries part {boundaries + 1} factors, not {found}"


_WARMUP: Final = Option("warmup", 5.0, "epochs of a linear warm-up", low=0)
_NO_WARMUP: Final = Option("warmup", 0.0, "epochs of a linear warm-up", low=0)
_START: Final = Option("start", 0.0, "factor that the warm-up starts from", low=0, high=1)

SCHEDULES: Final[Mapping[str, ScheduleInfo]] = MappingProxyType(
    {
        "constant": ScheduleInfo("the recipe's rate throughout", (), lambda _options, _epochs: 1.0),
        "linear-warmup": ScheduleInfo(
            "up from `start` over `warmup` epochs, then constant",
            (_WARMUP, _START),
            lambda o, e: linear_warmup(e, o["warmup"], o["start"]),
        ),
        "multistep": ScheduleInfo(
            "times `gamma` at each milestone, after a warm-up",
            (
                Option("milestones", "30+60+80", "epochs, with + between", check=numbers),
                Option("gamma", 0.1, "factor at each", low=0, above_low=True, high=1),
                _NO_WARMUP,
                _START,
            ),
            lambda o, e: multistep(e, numbers(o["milestones"]), o["gamma"], o["warmup"], o["start"]),
            unfit=_late,
        ),
        "stepping": ScheduleInfo(
            "a factor of its own between any two boundaries",
            (
                Option("boundaries", "30+60", "epochs, with + between", check=numbers),
                Option("factors", "1+0.1+0.01", "one more than boundaries", check=factors),
                Option("warmup", False, "rise to the second factor over the first stretch"),
            ),
            lambda o, e: stepping(e, numbers(o["boundaries"]), factors(o["factors"]), o["warmup"]),
            unfit=_uneven,
        ),
        "warmup-halvings": ScheduleInfo(
            "exponentially up from a hundredth, then cut again and again",
            (
                Option("epochs", 8.0, "the whole", low=0, above_low=True),
                _WARMUP,
                Option("remain", 0.5, "part of the whole after which the first cut comes", low=0, high=1),
                Option("interval", 0.1, "part of the whole between two cuts", low=0, above_low=True, high=1),
                Option("cuts", 4, "how many at most", low=0),
                Option("factor", 0.5, "of each cut", low=0, above_low=True, high=1),
            ),
            lambda o, e: warmup_and_halvings(
                e, o["epochs"], warmup=o["warmup"], remain=o["remain"], interval=o["interval"], most=o["cuts"],
                factor=o["factor"],
            ),
        ),
        "poly": ScheduleInfo(
            "up over `warmup` epochs, then down to `end` as a power of what is left",
            (
                Option("epochs", 40.0, "of the way down", low=0, above_low=True),
                Option("power", 2.0, "the exponent", low=0, above_low=True),
                Option("end", 0.0, "factor at the end", low=0, high=1),
                _NO_WARMUP,
                _START,
            ),
            lambda o, e: poly_decay(
                e, warmup=o["warmup"], decay=o["epochs"], power=o["power"], end=o["end"], start=o["start"]
            ),
        ),
        "inverse-root": ScheduleInfo(
            "up over `warmup` epochs, then the root of warmup / epochs done",
            (Option("warmup", 1.0, "epochs of a linear warm-up", low=0, above_low=True), _START),
            lambda o, e: inverse_root(e, o["warmup"], o["start"]),
        ),
        "root-decay": ScheduleInfo(
            "one over the root of the steps", (), lambda _options, step: root_decay(step), in_steps=True
        ),
        "time-decay": ScheduleInfo(
            "one over `beta` + the steps",
            (Option("beta", 1.0, "so that the rate is finite at the first step", low=0, above_low=True),),
            lambda o, step: time_decay(step, o["beta"]),
            in_steps=True,
        ),
        "shifted-decay": ScheduleInfo(
            "one over `shift` + the steps, 1 at most (sparsified SGD)",
            (Option("shift", 1.0, "the first step's place", low=0),),
            lambda o, step: shifted_decay(step, o["shift"]),
            in_steps=True,
        ),
    }
)  # fmt: skip
"""MLBench's LRLinearWarmUp, MultiStepLRLinearWarmUp, manual_stepping, ExponentialWarmupMultiStepLR,
PolyDecayLRLinearWarmup, SQRTTimeDecayLRWithWarmup, SQRTTimeDecayLR, TimeDecayLR and SparsifiedSGDLR, in this order."""
