"""What tasks and goals there are, known without importing torch: the CLI's only door to the tasks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import UsageError


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
                        comparable=True,
                        memory_bytes_per_rank=3 << 30,
                        about="needs dynamic evaluation (perplexity 50 with the adaptation on the clock)",
                    ),
                    "light": Goal(
                        name="light",
                        recipe="reference",
                        metric=_PERPLEXITY,
                        targets=MappingProxyType({"wikitext-2": 90.0, "synthetic": 90.0}),
                        upper_bound=True,
                        max_epochs=750,
                        comparable=True,
                        memory_bytes_per_rank=3 << 30,
                        about="33.6 M parameters, MLBench's hyperparameters; a GPU's work, a day on a CPU",
                    ),
                    "smoke": Goal(
                        name="smoke",
                        recipe="smoke",
                        metric=_PERPLEXITY,
                        targets=MappingProxyType({"wikitext-2": 300.0, "synthetic": 100.0}),
                        upper_bound=True,
                        max_epochs=12,
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


def did_you_mean(word: str, choices: Mapping[str, object]) -> str:
    """` Did you mean …?` for the choice nearest to `word`, or nothing where none is near."""
    near = difflib.get_close_matches(word.lower(), list(choices), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
