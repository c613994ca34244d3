"""What tasks and goals there are, known without importing torch: the CLI's only door to the tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ..errors import UsageError, did_you_mean
from . import recipes
from .goal import Goal as Goal
from .goal import TaskInfo as TaskInfo
from .goals import TASKS as TASKS
from .recipes import Choice as Choice

if TYPE_CHECKING:
    # Re-exported: the CLI knows the data sets only through this catalogue.
    from ..datasets.prepare import DataStatus as DataStatus
    from ..datasets.prepare import Prepared as Prepared


RAW: Final = "task0a"
"""Measures collectives alone: it trains nothing, and so is in no table of goals and recipes."""
RAW_GOALS: Final[Mapping[str, str]] = MappingProxyType(
    {"full": "4 bytes to 400 MB, each result checked", "quick": "a few sizes, in seconds: --quick"}
)


def task(name: str) -> TaskInfo:
    """The task called `name`, of those that train.

    Raises:
        UsageError: there is none; the message names the nearest and all valid ones.
    """
    info = TASKS.get(name)
    if name == RAW:
        raise UsageError(
            f"{RAW} measures collectives and trains nothing: it does not go here.",
            fix=f"mlb bench {RAW}, or a task that trains: {', '.join(TASKS)}.",
        )
    if info is None:
        known = (RAW, *TASKS)
        raise UsageError(
            f"There is no task {name!r}.{did_you_mean(name, known)}",
            fix=f"Tasks: {', '.join(known)}. `mlb bench list` describes them.",
        )
    return info


def choose_recipe(info: TaskInfo, goal: Goal, recipe: str | None, settings: Mapping[str, str]) -> Choice:
    """The recipe a run is to use: the goal's own where none is named.

    Raises:
        UsageError: the goal cannot be run with it, or a setting is refused.
    """
    recipe = recipe or goal.recipes[0]
    choice = recipes.choose(info.name, recipe, settings)
    if recipe not in goal.recipes:
        raise UsageError(
            f"The goal {goal.name!r} of {info.name} cannot be run with the recipe {recipe!r}.",
            fix=f"Recipes of this goal: {', '.join(goal.recipes)}.",
        )
    return choice


def stepped_by(info: TaskInfo, choice: Choice) -> str:
    """The optimiser that a run steps with; `recipe` is the task's own."""
    return recipes.stepped_by(info.name, choice)


def prepare_data(
    goal: Goal,
    *,
    data: str,
    data_dir: Path | None,
    cache_dir: Path,
    offline: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Find, verify and prepare the data that a goal is trained on.

    Args:
        data: `real` for the goal's own data set, or the name of one that stands in for it.
        progress: told about a download, in bytes (there, in all).

    Raises:
        UsageError: the goal has no target on that data.
        PreflightError: the data is not to be had, or not what its checksum says.
    """
    from ..datasets.prepare import prepare

    return prepare(
        goal.data_named(data),
        vocabulary=goal.vocabulary,
        data_dir=data_dir,
        cache_dir=cache_dir,
        offline=offline,
        progress=progress,
    )


def data_status(goal: Goal, *, data_dir: Path | None, cache_dir: Path) -> DataStatus:
    """What there is of a goal's own data on this machine."""
    from ..datasets.prepare import status

    return status(goal.dataset, data_dir=data_dir, cache_dir=cache_dir)


def to_json(info: TaskInfo) -> dict[str, Any]:
    """A task as plain data."""
    goals = {
        name: {field.name: getattr(goal, field.name) for field in fields(Goal)} | {"targets": dict(goal.targets)}
        for name, goal in info.goals.items()
    }
    return {
        "name": info.name,
        "title": info.title,
        "default_goal": info.default_goal,
        "default_seed": info.default_seed,
        "goals": goals,
        "recipes": {recipe: recipes.values(info.name, recipe) for recipe in recipes.names(info.name)},
    }
