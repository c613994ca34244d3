"""What a goal and a task are, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Goal:
    """One quality target of a task; a row in a table."""

    name: str
    recipes: tuple[str, ...]
    """The sets of hyperparameters this goal can be run with, the default first (tasks/recipes.py)."""
    metric: str
    """What is measured, as printed."""
    targets: Mapping[str, float]
    """Data set -> value of the metric that ends the run; the first is the goal's own data, the others stand in."""
    upper_bound: bool
    """True where quality has to fall to the target."""
    max_epochs: int
    """Epochs after which the run gives up."""
    comparable: bool
    """False for goals that exist for tests and newcomers only; every report says so."""
    memory_bytes_per_rank: int
    """Peak resident memory of one CPU rank, rounded up (measured: benchmarks/README.md)."""
    about: str
    """One line for people."""
    vocabulary: int | None = None
    """Words the model knows; None: all of the data set's, or none."""

    @property
    def dataset(self) -> str:
        """The data set that the goal is about."""
        return next(iter(self.targets))

    def data_named(self, data: str) -> str:
        """The data set to use: `real` for the goal's own, else one of its data sets by name.

        Raises:
            UsageError: the goal has no target on that data.
        """
        name = self.dataset if data == "real" else data
        if name not in self.targets:
            raise UsageError(
                f"The goal {self.name!r} has no target on the data set {data!r}.{did_you_mean(data, self.targets)}",
                fix=f"Data: real ({self.dataset}){''.join(f', {n}' for n in list(self.targets)[1:])}.",
            )
        return name


@dataclass(frozen=True)
class TaskInfo:
    """One reference task."""

    name: str
    title: str
    module: str
    """Where the task's code lives, imported on the nodes only."""
    goals: Mapping[str, Goal]
    default_goal: str
    default_seed: int

    def goal(self, name: str) -> Goal:
        """The goal called `name`.

        Raises:
            UsageError: there is none.
        """
        if name not in self.goals:
            raise UsageError(
                f"{self.name} has no goal {name!r}.{did_you_mean(name, self.goals)}",
                fix=f"Goals of {self.name}: {', '.join(self.goals)}.",
            )
        return self.goals[name]
