"""What tasks and goals there are, known without importing torch: the CLI's only door to the tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, did_you_mean

if TYPE_CHECKING:
    # Re-exported: the CLI knows the data sets only through this catalogue.
    from ..datasets.prepare import DataStatus as DataStatus
    from ..datasets.prepare import Prepared as Prepared


@dataclass(frozen=True)
class Goal:
    """One quality target of a task; a row in a table."""

    name: str
    recipe: str
    """The set of hyperparameters this goal is run with: `reference` or `smoke`."""
    metric: str
    """What is measured, as printed."""
    targets: Mapping[str, float]
    """Data set -> value of the metric that ends the run. Empty: the goal is not runnable yet."""
    upper_bound: bool
    """True where quality has to fall to the target."""
    max_epochs: int
    """Epochs after which the run gives up."""
    vocabulary: int | None
    """Words the model knows; None: all of the data set's."""
    comparable: bool
    """False for goals that exist for tests and newcomers only; every report says so."""
    memory_bytes_per_rank: int
    """Peak resident memory of one CPU rank, rounded up (measured: benchmarks/README.md)."""
    about: str
    """One line for people."""


@dataclass(frozen=True)
class TaskInfo:
    """One reference task."""

    name: str
    title: str
    module: str
    """Where the task's code lives, imported on the nodes only."""
    datasets: tuple[str, ...]
    """Data sets it can train on, the real one first."""
    goals: Mapping[str, Goal]
    default_goal: str
    default_seed: int

    def goal(self, name: str) -> Goal:
        """The goal called `name`.

        Raises:
            UsageError: there is none, or it cannot be run yet.
        """
        goal = self.goals.get(name)
        if goal is None:
            raise UsageError(
                f"{self.name} has no goal {name!r}.{did_you_mean(name, self.goals)}",
                fix=f"Goals of {self.name}: {', '.join(self.goals)}.",
            )
        if not goal.targets:
            runnable = ", ".join(g.name for g in self.goals.values() if g.targets)
            raise UsageError(
                f"The goal {name!r} of {self.name} cannot be run by this version of mlb.",
                why=goal.about,
                fix=f"Goals that can be run: {runnable}.",
            )
        return goal


_PERPLEXITY = "validation perplexity"

TASKS: Mapping[str, TaskInfo] = MappingProxyType(
    {
        "task3a": TaskInfo(
            name="task3a",
            title="AWD-LSTM language model on WikiText-2",
            module="mlb.tasks.task3a",
            datasets=("wikitext-2", "synthetic"),
            goals=MappingProxyType(
                {
                    "full": Goal(
                        name="full",
                        recipe="reference",
                        metric=_PERPLEXITY,
                        targets=MappingProxyType({}),
                        upper_bound=True,
                        max_epochs=750,
                        vocabulary=None,
                        comparable=True,
                        memory_bytes_per_rank=2 << 30,
                        about="needs dynamic evaluation (perplexity 50 with the adaptation on the clock)",
                    ),
                    "light": Goal(
                        name="light",
                        recipe="reference",
                        metric=_PERPLEXITY,
                        targets=MappingProxyType({"wikitext-2": 90.0, "synthetic": 90.0}),
                        upper_bound=True,
                        max_epochs=750,
                        vocabulary=None,
                        comparable=True,
                        memory_bytes_per_rank=2 << 30,
                        about="the published model, for a GPU: an epoch takes 45 minutes on two CPU cores",
                    ),
                    "smoke": Goal(
                        name="smoke",
                        recipe="smoke",
                        metric=_PERPLEXITY,
                        targets=MappingProxyType({"wikitext-2": 170.0, "synthetic": 73.0}),
                        upper_bound=True,
                        max_epochs=12,
                        vocabulary=8_000,
                        comparable=False,
                        memory_bytes_per_rank=1 << 30,
                        about="reduced model and vocabulary, one to two minutes on two CPU cores; not comparable",
                    ),
                }
            ),
            default_goal="light",
            default_seed=43,
        ),
    }
)


def task(name: str) -> TaskInfo:
    """The task called `name`.

    Raises:
        UsageError: there is none; the message names the nearest and all valid ones.
    """
    info = TASKS.get(name)
    if info is None:
        raise UsageError(
            f"There is no task {name!r}.{did_you_mean(name, TASKS)}",
            fix=f"Tasks: {', '.join(TASKS)}. `mlb bench list` describes them.",
        )
    return info


def prepare_data(
    info: TaskInfo,
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
        data: `real` for the task's own data set, `synthetic` for generated data.
        progress: told about a download, in bytes (there, in all).

    Raises:
        PreflightError: the data is not to be had, or not what its checksum says.
    """
    from ..datasets.prepare import prepare

    name = info.datasets[0] if data == "real" else data
    return prepare(
        name,
        vocabulary=goal.vocabulary,
        data_dir=data_dir,
        cache_dir=cache_dir,
        offline=offline,
        progress=progress,
    )


def data_status(info: TaskInfo, *, data_dir: Path | None, cache_dir: Path) -> DataStatus:
    """What there is of a task's real data on this machine."""
    from ..datasets.prepare import status

    return status(info.datasets[0], data_dir=data_dir, cache_dir=cache_dir)


def to_json(info: TaskInfo) -> dict[str, Any]:
    """A task as plain data."""
    goals = {
        name: {field.name: getattr(goal, field.name) for field in fields(Goal)} | {"targets": dict(goal.targets)}
        for name, goal in info.goals.items()
    }
    return {
        "name": info.name,
        "title": info.title,
        "datasets": list(info.datasets),
        "default_goal": info.default_goal,
        "default_seed": info.default_seed,
        "goals": goals,
    }
