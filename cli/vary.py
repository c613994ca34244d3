"""`--vary KEY=VALUE,...`: what is varied, checked, and every combination of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from ..errors import UsageError, did_you_mean
from . import config
from .matrix_run import SETTING
from .request import RequestOption, request_options, was_given

_KEPT: Final = {
    "task": "runs of different tasks have nothing to compare",
    "goal": "times to different goals say nothing about each other",
    "data": "times to a target on different data say nothing about each other",
    "seed": "every configuration is run with the same seeds: --repeat",
    "fleet": "a comparison is made on one fleet; runs that exist are compared by mlb compare RUN...",
}
"""Options that are the same in all runs of a comparison, and why."""
_CIRCUMSTANCES: Final = ("data-dir", "queue", "hang-after", "skip-health", "wheelhouse", "offline", "oversubscribe")
"""How a run is made, not what it is."""


def axes_of(texts: Sequence[str], given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What is varied: a field of the request, or `set.NAME` for a hyperparameter, and its values in their order.

    Args:
        given: the options of the request as typed, by field.

    Raises:
        UsageError: a key or a value cannot be, with all that can.
    """
    options = {option.flag: option for option in request_options().values()}
    valid = [flag for flag in options if flag not in (*_KEPT, *_CIRCUMSTANCES, "set")]
    axes: dict[str, list[Any]] = {}
    for text in texts:
        key, sign, words = text.partition("=")
        key = key.strip()
        if not sign or not key:
            raise UsageError(f"--vary {text!r} is not KEY=VALUE,VALUE.", fix="For example: --vary backend=gloo,nccl")
        if key in _KEPT:
            raise UsageError(f"{key} cannot be varied: {_KEPT[key]}.", fix=_fix(valid))
        if not key.startswith(SETTING) and key not in valid:
            raise UsageError(f"There is no {key!r} to vary.{did_you_mean(key, valid)}", fix=_fix(valid))
        option = None if key.startswith(SETTING) else options[key]
        name = option.field.name if option else key
        values = axes.setdefault(name, [])
        for word in words.split(","):
            value = _value(option, key, word.strip())
            if value in values:
                raise UsageError(f"--vary {key} has {word.strip()!r} twice.", fix="Name each value once.")
            values.append(value)
        _refuse_both(name, key, given, option)
    return axes


def configurations_of(axes: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination; the last key changes fastest."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _fix(valid: Sequence[str]) -> str:
    return f"What can be varied: {', '.join(valid)}, and {SETTING}NAME for a hyperparameter (mlb bench list)."


def _value(option: RequestOption | None, key: str, word: str) -> Any:
    if not word:
        raise UsageError(f"--vary {key} has an empty value.", fix=f"For example: --vary {key}=ONE,OTHER")
    if option is None:
        return word
    kinds = get_args(option.hint)[0]
    kinds = get_args(kinds) or (kinds,)
    value: Any = word
    if bool in kinds:
        if word not in ("yes", "no"):
            raise UsageError(f"{key} cannot be {word!r}.", fix=f"--vary {key}=yes,no")
        value = word == "yes"
    elif int in kinds:
        if not (word.isascii() and word.isdigit() and int(word) > 0):
            raise UsageError(f"{key} cannot be {word!r}.", fix="It has to be a whole number from 1.")
        value = int(word)
    elif float in kinds:
        try:
            value = float(word)
        except ValueError:
            raise UsageError(f"{key} cannot be {word!r}.", fix="It has to be a number.") from None
    return config.value(option.field.name, value) if option.field.name in config.SETTINGS else value


def _refuse_both(name: str, key: str, given: Mapping[str, Any], option: RequestOption | None) -> None:
    if option is None:
        twice = any(text.partition("=")[0].strip() == key.removeprefix(SETTING) for text in given["settings"] or ())
    else:
        twice = name in given and was_given(name, given[name])
    if twice:
        raise UsageError(f"{key} is varied and set at the same time.", fix="Leave one of the two out.")
