"""The hyperparameters of every task, in tables that need no torch: what the CLI checks and the tasks obey.

Each task has a `reference` recipe, the values that were published, which may not be changed, and a `smoke` recipe
for the reduced goal; some have `fast`, our own for the same model and target. `custom` starts from the reference's
values and says which of them were changed. Every field is a number, a word or a truth value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any, get_type_hints

from ..errors import UsageError, did_you_mean
from . import bounds, named_schedules, optimisers
from .recipe1a import RECIPES_1A
from .recipe1b import RECIPES_1B
from .recipe2a import RECIPES_2A
from .recipe3a import RECIPES_3A
from .recipe4 import RECIPES_4A, RECIPES_4B

CUSTOM = "custom"

_TABLES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "task1a": RECIPES_1A,
        "task1b": RECIPES_1B,
        "task2a": RECIPES_2A,
        "task3a": RECIPES_3A,
        "task4a": RECIPES_4A,
        "task4b": RECIPES_4B,
    }
)


@dataclass(frozen=True)
class Choice:
    """Which recipe a run is to use, checked."""

    recipe: str
    changes: Mapping[str, str]
    """Hyperparameter -> the value set by the user, in normal form; only what differs from the recipe."""
    scales_by_batch: bool
    """Whether the global batch is so much a rank: the recipe has a `batch_per_rank`."""

    libraries: tuple[str, ...] = ()
    """The optional library that its optimiser is of, beyond what every node has."""


def names(task: str) -> tuple[str, ...]:
    """The recipes of a task."""
    return (*_TABLES[task], CUSTOM)


def values(task: str, recipe: str) -> dict[str, object]:
    """Hyperparameter -> value, of a recipe as published."""
    return asdict(_published(task, recipe))


def choose(task: str, recipe: str, settings: Mapping[str, str]) -> Choice:
    """Check a recipe's name and the user's settings of it.

    Raises:
        UsageError: no such recipe or hyperparameter, a value that cannot be, values that do not go together, or a
            change of the reference.
    """
    if recipe not in names(task):
        raise UsageError(
            f"{task} has no recipe {recipe!r}.{did_you_mean(recipe, names(task))}",
            fix=f"Recipes of {task}: {', '.join(names(task))}.",
        )
    if settings and recipe == "reference":
        raise UsageError(
            f"The reference recipe of {task} is closed: its hyperparameters are the published ones.",
            why=f"Asked for: {', '.join(f'{key}={value}' for key, value in settings.items())}.",
            fix=f"Add --recipe {CUSTOM}: it starts from the same values, and the run is marked open.",
        )
    published = _published(task, recipe)
    changed = {key: _value(task, published, key, text) for key, text in settings.items()}
    if fault := bounds.fault_together(replace(published, **changed)):
        raise UsageError(
            f"These hyperparameters of {task} do not go together: {fault}",
            fix=f"Asked for: {', '.join(f'{key}={value}' for key, value in settings.items())}.",
        )
    differing = {key: str(value) for key, value in changed.items() if value != getattr(published, key)}
    _check_momentum(task, build(task, recipe, differing))
    named = differing.get("optimiser", optimisers.RECIPES_OWN)
    library = None if named in _OWN_OPTIMISERS.get(task, ()) else optimisers.library_of(named)
    return Choice(recipe, differing, hasattr(published, "batch_per_rank"), (library,) if library else ())


def _check_momentum(task: str, made: Any) -> None:
    """schedulefree divides by it."""
    momentum = getattr(made, "momentum", None)
    if made.optimiser == "schedulefree-sgd" and not 0 < (momentum or 0.0) < 1:
        raise UsageError(
            f"The optimiser schedulefree-sgd needs a momentum above 0 and below 1; that of {task} is {momentum or 0}.",
            fix="--set optimiser=schedulefree-adamw needs none."
            + ("" if momentum is None else " Or leave momentum as published."),
        )


def stepped_by(task: str, choice: Choice) -> str:
    """The optimiser that a run steps with, by the names of tasks/optimisers.py; the task's own is `recipe`."""
    named = str(build(task, choice.recipe, choice.changes).optimiser)
    return optimisers.RECIPES_OWN if named in _OWN_OPTIMISERS.get(task, ()) else named


def build(task: str, recipe: str, changes: Mapping[str, str], batch_per_rank: int | None = None) -> Any:
    """The recipe with its changes, as the task's own dataclass; a batch of each rank replaces the recipe's."""
    published = _published(task, recipe)
    values = {key: _value(task, published, key, text) for key, text in changes.items()}
    if batch_per_rank is not None:
        values["batch_per_rank"] = batch_per_rank
    return replace(published, **values)


def _published(task: str, recipe: str) -> Any:
    return _TABLES[task]["reference" if recipe == CUSTOM else recipe]


def _value(task: str, published: Any, key: str, text: str) -> object:
    kinds = get_type_hints(type(published))
    if key not in kinds:
        known = [field.name for field in fields(published)]
        raise UsageError(
            f"{task} has no hyperparameter {key!r}.{did_you_mean(key, known)}",
            fix=f"Hyperparameters of {task}: {', '.join(known)}.",
        )
    kind = kinds[key]
    if key == "optimiser" and text not in _OWN_OPTIMISERS.get(task, ()):
        optimisers.check(text)
    if key == "schedule":
        named_schedules.named(task, text)
    if key in _WORDS and text not in _WORDS[key]:
        raise UsageError(
            f"{key} cannot be {text!r}.{did_you_mean(text, _WORDS[key])}", fix=f"It is one of {', '.join(_WORDS[key])}."
        )
    if text.lower() == "none" and kind in (int | None, float | None):
        return None
    as_published = f"{key} is {getattr(published, key)!r} as published."
    try:
        value: object = _READERS[kind](text)
    except (ValueError, KeyError) as error:
        raise UsageError(f"{key}={text} is not {_IN_WORDS[kind]}.", fix=as_published) from error
    if fault := bounds.fault_of(task, key, value):
        raise UsageError(f"Nobody can train {task} with {key}={text}.", why=fault, fix=as_published)
    return value


_OWN_OPTIMISERS: Mapping[str, tuple[str, ...]] = MappingProxyType({"task1b": ("lars", "sgd")})
"""Those that a task makes itself, with more hyperparameters of the recipe than a name by itself has."""

_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"precision": ("float32", "bfloat16"), "compile": ("never", "gpu", "always")}
)


def _truth(text: str) -> bool:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]


def _number(text: str) -> float:
    value = float(text)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value


_READERS: Mapping[Any, Any] = {bool: _truth, int: int, int | None: int, float: _number, float | None: _number, str: str}
_IN_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    int | None: "a whole number or none",
    float: "a finite number",
    float | None: "a finite number or none",
    str: "a word",
}
